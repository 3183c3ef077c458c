"""What a worker of a Dask cluster does for edgekit: it says what it is, and runs a stage as the host would have run it.

A stage's process is a child of the worker and ends with it. It ends, too, as soon as the scheduler no longer wants its task:
the host was stopped, or is gone. What a nanny set for the worker's own libraries (one OpenMP thread, another allocator) does
not count for stages: they get the threads of the host, so that sums are added in the same order.
"""

import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.config
from distributed import Worker, WorkerPlugin, get_worker

from edgekit.engine import fingerprint, private, process, warm
from edgekit.engine.job import Job, Stop
from edgekit.engine.machine import machine_facts
from edgekit.engine.stage_folder import clear
from edgekit.errors import Stopped

POLL_S = 0.2
KEPT_STATES = ("executing", "long-running", "resumed")  # of a task that somebody still waits for


def introduce(token: str) -> dict[str, Any]:
    """Returns the worker's facts, its tools, and what it reads in a file of the host's work folder.

    Args:
        token: The file.
    """
    try:
        read = Path(token).read_text(encoding="utf-8")
    except OSError:
        read = ""
    return {"machine": machine_facts(), "tools": fingerprint.of_tools(), "token": read}


class Warm(WorkerPlugin):  # type: ignore[misc]
    """Keeps warm servers in a worker as long as a run lasts.

    Args:
        variables: The environment variables of threads, as on the host.
    """

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self._held = contextlib.ExitStack()

    def __getstate__(self) -> dict[str, Any]:
        return {"_variables": self._variables, "_held": None}

    def setup(self, worker: Worker) -> None:
        """Starts them, unless another run has; they import what the first stage asks for."""
        self._held = contextlib.ExitStack()
        self._held.enter_context(warm.servers(own_environment(self._variables)))

    def teardown(self, worker: Worker) -> None:
        """Ends what this run started."""
        self._held.close()


def run_stage(job: Job, variables: dict[str, str]) -> int | None:
    """Runs the process of a stage on the machine of this worker.

    Args:
        job: The stage; its folder is one that host and worker share.
        variables: The environment variables of threads, as on the host.

    Returns:
        The exit code; None where it was ended at its limit, or is no longer wanted.
    """
    wanted = _Unwanted()
    try:
        with _machine(job.alone, wanted):
            Path(job.folder).mkdir(parents=True, exist_ok=True)
            clear(Path(job.folder))  # what a worker that was lost left
            return process.execute(job, wanted, own_environment(variables))
    except Stopped:
        return None


def own_environment(variables: dict[str, str]) -> dict[str, str]:
    """Returns the environment of this worker without what its nanny set for it, and with `variables`."""
    set_by_nanny = {
        *dask.config.get("distributed.nanny.pre-spawn-environ", {}),
        *dask.config.get("distributed.nanny.environ", {}),
    }
    return {name: value for name, value in os.environ.items() if name not in set_by_nanny} | variables


class _Unwanted(Stop):
    """Is set when the scheduler has taken the task of this thread back, or the worker closes."""

    def __init__(self) -> None:
        self._worker = get_worker()
        self._key = self._worker.get_current_task()

    def is_set(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        return task is None or task.state not in KEPT_STATES


@contextlib.contextmanager
def _machine(alone: bool, stop: Stop) -> Iterator[None]:
    """Shares this machine with the stages of all its workers, or has it alone.

    Raises:
        Stopped: The stage is no longer wanted.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = Path(tempfile.gettempdir()) / f"edgekit-{os.geteuid()}"
    private.make_folder(folder)
    with private.open_file(folder, f"{platform.node()}.lock") as file:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            if stop.is_set():
                raise Stopped("the stage is no longer wanted")
            time.sleep(POLL_S)
        yield
