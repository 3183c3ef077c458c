"""The host's side of the warm servers (`edgekit.engine.server`): starts them when they are needed, ends them with the run.

Only Linux forks safely from a process that has imported frameworks; elsewhere, and for a stage that needs other environment
variables than the servers were started with, there is a fresh interpreter.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgekit.engine.environment import environment
from edgekit.engine.families import FAMILIES

ENDING_S = 5.0  # a server that has been told to end is killed after this time


class ServerLost(Exception):
    """A server ended without being asked to, or could not be started."""


class WarmProcess:
    """The process of a stage that a server forked, with the methods of a Popen that a waiting host needs."""

    def __init__(self, stage: socket.socket) -> None:
        self._stage = stage
        self._code: int | None = None
        self._said = b""

    def poll(self) -> int | None:
        """Returns the exit code, None as long as it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code.

        Raises:
            subprocess.TimeoutExpired: It still runs after `timeout` seconds.
            ServerLost: Its server died, and it with it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._stage], [], [], left)[0]:
                raise subprocess.TimeoutExpired("stage", timeout or 0.0)
            self._hear()
        return self._code

    def _hear(self) -> None:
        try:
            heard = self._stage.recv(64)
        except OSError:
            heard = b""
        if not heard:
            self._stage.close()
            self._code = -9
            raise ServerLost("the server of a stage died")
        self._said += heard
        if self._said.endswith(b"\n"):
            self._code = int(self._said)
            self._stage.close()

    def kill(self) -> None:
        """Ends it; `wait` then returns soon."""
        with contextlib.suppress(OSError):
            self._stage.shutdown(socket.SHUT_WR)


class Servers:
    """The servers of one run, or of one test session. Thread-safe.

    They live as long as the thread that makes this object: make it in the one that outlives the run.

    Args:
        variables: The environment that the stages' own is added to.
    """

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self._lock = threading.Lock()
        environ = {**variables, **environment(tuned=True)}
        self._given = _comparable(environ)
        self._controls: dict[str, socket.socket] = {}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._root = subprocess.Popen(
                [sys.executable, "-P", "-m", "edgekit.engine.server", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environ,
            )
        self._controls[""] = ours

    def fits(self, variables: dict[str, str]) -> bool:
        """Whether these are the variables that the servers' frameworks were imported under."""
        return _comparable(variables) == self._given

    def warm_up(self, family: str) -> None:
        """Lets a family's server begin to import; does not wait for it."""
        with self._lock:
            self._control(family)

    def start(self, family: str, job: dict[str, object], fresh: Sequence[str] = ()) -> WarmProcess:
        """Starts the process of a stage.

        Args:
            family: The family it is forked from; with `fresh`, "".
            job: Its spec, result, log, path and environment.
            fresh: The arguments of a fresh interpreter that takes its place.

        Raises:
            ServerLost: The server is gone.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                with self._lock:
                    socket.send_fds(self._control(family), [b"run"], [theirs.fileno()])
                ours.sendall(json.dumps({**job, "fresh": list(fresh)}).encode() + b"\n")
            except OSError as error:
                ours.close()
                raise ServerLost(
                    f"the server of {family or 'fresh interpreters'} is gone: {error}"
                ) from error
        return WarmProcess(ours)

    def _control(self, family: str) -> socket.socket:
        if family not in self._controls:
            below = self._control(FAMILIES[family].on)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                socket.send_fds(below, [f"open {family}".encode()], [theirs.fileno()])
            self._controls[family] = ours
        return self._controls[family]

    def close(self) -> None:
        """Ends the servers and whatever still runs."""
        with self._lock:
            for control in self._controls.values():
                control.close()
            self._controls.clear()
        try:
            self._root.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self._root.kill()
            self._root.wait()


# what frameworks and the allocator read when they are loaded; all other variables a forked stage gets in time
READ_AT_IMPORT = (
    "ATEN_", "CUDA_", "DNNL_", "GOMP_", "JAX_", "KERAS_", "LD_", "MALLOC_", "MKL_NUM_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTHONHASHSEED",
    "PYTORCH_", "TF_ENABLE_", "TORCH", "XLA_",
)  # fmt: skip


def _comparable(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(READ_AT_IMPORT)}


_active: Servers | None = None


def active() -> Servers | None:
    """Returns the servers that stages are forked from; None where there are none."""
    return _active


@contextlib.contextmanager
def servers(variables: Mapping[str, str] = os.environ) -> Iterator[Servers | None]:
    """Keeps servers for as long as it lasts, or leaves those in charge that are there already.

    Args:
        variables: The environment that the stages' own is added to.
    """
    global _active
    if _active is not None or sys.platform != "linux":
        yield _active
        return
    _active = Servers(variables)
    try:
        yield _active
    finally:
        ending, _active = _active, None
        ending.close()


def begin(spec: Path, result: Path, log: Path, family: str, variables: dict[str, str]) -> WarmProcess | None:
    """Starts the process of a stage where servers are active; None where there are none, or none can.

    Args:
        spec: Its spec.json.
        result: Where it leaves its answer.
        log: Where it prints to.
        family: What it is forked from; empty is a fresh interpreter.
        variables: All of its environment.
    """
    running = _active
    if running is None:
        return None
    path = [entry for entry in sys.path if entry]
    job: dict[str, object] = {
        "spec": str(spec), "result": str(result), "log": str(log), "environment": variables, "path": path,
        "folder": str(Path.cwd()),
    }  # fmt: skip
    forked = family if family and running.fits(variables) else ""
    fresh = (
        () if forked else ("-P", "-m", "edgekit.engine.child", str(spec), str(result))
    )  # and PARENT, FAMILY
    try:
        return running.start(forked, job, fresh)
    except ServerLost:
        return None
