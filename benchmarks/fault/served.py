"""Exports that cost a second and not ten: the command line in this process, its stages forked from servers that are kept."""

import os
import subprocess
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from click.testing import CliRunner

from edgekit.cli.main import main
from edgekit.engine import warm
from edgekit.engine.families import TORCH
from fault import MARK, left_running, marked

PATIENCE_S = 10.0


@contextmanager
def servers(temporary: Path) -> Iterator[None]:
    """Keeps servers while it lasts; temporary files go to a folder of their own, which is made."""
    former = dict(os.environ)
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    try:
        with warm.servers() as found:
            if found is not None:
                found.warm_up(TORCH)
            yield
    finally:
        os.environ.clear()
        os.environ.update(former)


def edgekit(arguments: Sequence[object]) -> "subprocess.CompletedProcess[str]":
    """What the command line answers; an exception that reaches its top is a traceback, as it would be for a user."""
    os.environ[MARK] = marked()[MARK]
    given = [str(each) for each in arguments]
    done = CliRunner().invoke(main, given)
    said = done.stderr
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        said += "".join(traceback.format_exception(done.exception))
    return subprocess.CompletedProcess(given, done.exit_code, done.stdout, said)


def left_behind() -> list[str]:
    """What the last command left running, after some patience: neither this process nor a server."""
    end = time.monotonic() + PATIENCE_S
    while (found := _running()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _running() -> list[str]:
    """Whatever runs in a session of its own, as a stage and what it starts do; servers run in this process's."""
    found = [line for line in left_running({MARK: os.environ[MARK]}) if _apart(int(line.split()[0]))]
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and _apart(process.pid):
                found.append(f"{process.pid} {' '.join(process.cmdline())[-100:]}")
        except psutil.Error:
            continue
    return found


def _apart(pid: int) -> bool:
    try:
        return os.getsid(pid) != os.getsid(0)
    except ProcessLookupError:
        return False
