"""Runs one stage in a process of its own.

Converters crash, take gigabytes and must not meet each other in one process; a child gives the memory back and
turns a crash into a sentence. A stage is a function of one record that returns a record; both cross as JSON.
What the stage prints goes to its log. A child dies with its parent, however that one ends.

The child is forked from a warm server where there is one (`edgekit.engine.warm`), else it is a fresh interpreter, as a stage that
measures time always is. What it does is in `edgekit.engine.child`.

The result is written last, beside its place and renamed into it, with the hash of every file of the stage: a folder that holds one
is a finished stage, which `edgekit.engine.answer.reuse` gives back as long as the files are still those.

Which machine starts the process is the caller's choice: `execute` on this one, or whatever else takes a `Job` and leaves the
same files (`edgekit.engine.cluster`).
"""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from edgekit.engine import answer, families, warm
from edgekit.engine.catalogue import Stage
from edgekit.engine.child import LOG, RESULT, SPEC, TEMPORARY
from edgekit.engine.environment import environment
from edgekit.engine.job import Execute, Job, Stop
from edgekit.errors import StageTimeout, Stopped
from edgekit.records import Record, StageTime

S = TypeVar("S", bound=Record)
R = TypeVar("R", bound=Record)

LOADING_S = 300.0  # what importing a family may take on a busy machine
ENDING_S = 5.0  # how long an ended stage is waited for
POLL_S = 0.1  # how often a waiting parent checks whether it should stop
Process = subprocess.Popen[bytes] | warm.WarmProcess


def run(
    stage: Stage[S, R],
    spec: S,
    folder: Path,
    *,
    label: str = "",
    stop: Stop | None = None,
    limit_s: float | None = None,
    where: Execute | None = None,
) -> tuple[R, StageTime]:
    """Runs one stage.

    Args:
        stage: What to run.
        spec: What goes in.
        folder: Where spec, result and log of this stage are written.
        label: What messages call it; empty is the stage's name.
        stop: Ends the child when set.
        limit_s: In place of the stage's own limit of wall time, in seconds; 0 is none.
        where: What executes its process; None is this machine.

    Returns:
        The result, and what it took.

    Raises:
        EdgekitError: What the stage raised.
        Stopped: It was ended by `stop`.
        StageTimeout: It took longer than its limit.
        ChildCrash: Its process died, or raised anything else.
    """
    label = label or stage.name
    job = Job(
        folder=str(folder),
        spec=json.dumps({"function": stage.function, "spec": msgspec.to_builtins(spec)}),
        label=label,
        family="" if stage.alone else families.known(stage.family(spec)),
        alone=stage.alone,
        limit_s=stage.limit_s if limit_s is None else limit_s,
    )
    started = time.perf_counter()
    code = (where or execute)(job, stop)
    if code is None:
        raise StageTimeout(
            f"{label} took longer than its limit of {job.limit_s:g} s and was ended; {answer.last_words(folder / LOG)}; --stage-timeout "
            f"SECONDS sets another limit, 0 none; {answer.how_to_debug(folder)}"
        )
    return answer.collect(label, code, folder, stage.result, time.perf_counter() - started)


def execute(job: Job, stop: Stop | None, variables: Mapping[str, str] = os.environ) -> int | None:
    """Runs the process of a stage on this machine.

    Args:
        job: The stage.
        stop: Ends it when set.
        variables: The environment that the stage's own is added to.

    Returns:
        The exit code; None where it was ended at its limit.

    Raises:
        Stopped: It was ended by `stop`.
    """
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = _paths(folder)
    for former in (RESULT, LOG):
        paths[former].unlink(missing_ok=True)
    paths[SPEC].write_text(job.spec)
    environ = {**variables, **environment(tuned=bool(job.family))}
    try:
        return _wait(_start(paths, job.family, environ), job, stop, paths[LOG])
    except warm.ServerLost:
        return _wait(_fresh(paths, job.family, environ), job, stop, paths[LOG])
    finally:
        shutil.rmtree(folder / TEMPORARY, ignore_errors=True)


def _paths(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in (SPEC, RESULT, LOG)}


def _start(paths: dict[str, Path], family: str, environ: dict[str, str]) -> Process:
    process = warm.begin(paths[SPEC], paths[RESULT], paths[LOG], family, environ)
    return process or _fresh(paths, family, environ)


def _fresh(paths: dict[str, Path], family: str, environ: dict[str, str]) -> Process:
    """Starts a fresh interpreter, with a process group of its own, which ends with it."""
    with paths[LOG].open("wb") as log:
        return subprocess.Popen(
            [
                sys.executable, "-P", "-m", "edgekit.engine.child", str(paths[SPEC]), str(paths[RESULT]), str(os.getpid()), family,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )  # fmt: skip


def _wait(process: Process, job: Job, stop: Stop | None, log: Path) -> int | None:
    """Returns the exit code, None after the limit; whatever ends the waiting ends the child.

    The limit is that of the stage, which begins with its log: a server may have to import its family first.
    """
    limit_s, asked_s = job.limit_s or math.inf, time.monotonic()
    begun_s: float | None = None
    try:
        while stop is None or not stop.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(POLL_S)
            now_s = time.monotonic()
            if begun_s is None and log.exists():
                begun_s = now_s
            if now_s - (begun_s or asked_s + LOADING_S) > limit_s:
                return None
        raise Stopped(f"{job.label} was stopped")
    finally:
        _end(process)


def _end(process: Process) -> None:
    """Ends it where it still runs, and what it started and left behind."""
    with contextlib.suppress(warm.ServerLost):
        if process.poll() is None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_S)  # a server that still imports its family ends the stage after that
    if isinstance(process, subprocess.Popen) and sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
