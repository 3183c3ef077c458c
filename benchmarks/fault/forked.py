"""Starts edgekit by forking a process that has its frameworks loaded, so that a kill costs a second and not ten.

What runs is the command line itself, in a session of its own; only the interpreter and the first server of stages are
forked where they would be started. Whatever a killed export leaves is handed to this process, which is why it finds it.
"""

import contextlib
import ctypes
import faulthandler
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil

from edgekit.engine import families, server, warm
from edgekit.engine.environment import environment
from edgekit.engine.families import TORCH

PR_SET_CHILD_SUBREAPER = 36


def adopt(orphans: bool = True) -> None:
    """From now on orphans come to this process, or no longer do."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(orphans))


def load() -> None:
    """Imports what the command line and the first server would."""
    os.environ.update(environment(tuned=True))
    families.load(TORCH)
    import edgekit.api
    import edgekit.cli.main  # noqa: F401


def running() -> dict[int, str]:
    """The processes that this one started or was handed, and that still run: their command lines by their numbers."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)
            else:
                found[process.pid] = " ".join(process.cmdline())[-160:]
    return found


class Forked:
    """A forked process, with the methods of a Popen that are needed.

    Args:
        body: What it does; it does not return.
    """

    def __init__(self, body: Callable[[], NoReturn]) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        former = signal.pthread_sigmask(
            signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM)
        )  # not in the middle of a fork
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, former)
                body()
            finally:
                os._exit(70)
        signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("edgekit", timeout or 0.0)
            time.sleep(0.01)
        return code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def edgekit(
    arguments: Sequence[str], log: Path, variables: Mapping[str, str], before: Callable[[], None]
) -> Forked:
    """Runs the command line in a forked process.

    Args:
        arguments: Of edgekit.
        log: Where it prints to.
        variables: All of its environment.
        before: Is called in the new process first.
    """

    def body() -> NoReturn:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        _become((os.open(os.devnull, os.O_RDONLY), handle, handle), (), variables)
        faulthandler.enable(2)  # a crash of what was loaded before the fork says where it was
        warm.subprocess = types.SimpleNamespace(**vars(subprocess) | {"Popen": _first_server})  # type: ignore[attr-defined]
        before()
        sys.argv = ["edgekit", *arguments]
        code = 1
        try:
            from edgekit.__main__ import main

            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(code)

    return Forked(body)


def _first_server(
    command: Sequence[str], *, pass_fds: Sequence[int], env: Mapping[str, str], **_: Any
) -> Forked:
    """In place of a fresh interpreter that runs `edgekit.engine.server`."""

    def body() -> NoReturn:
        null = os.open(os.devnull, os.O_RDWR)
        _become((null, null, null), pass_fds, env)
        server.main(*command[-2:])

    return Forked(body)


def _become(streams: Sequence[int], kept: Sequence[int], variables: Mapping[str, str]) -> None:
    for number, source in enumerate(streams):
        os.dup2(source, number)
    low = 3
    for handle in (*sorted(kept), 1 << 16):
        os.closerange(low, handle)
        low = handle + 1
    os.environ.clear()
    os.environ.update(variables)
