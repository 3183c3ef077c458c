"""One program of this machine, run to its end: bounded in time and in what it says, ended with its children."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import BinaryIO

import psutil

MOST_BYTES = 64 << 20  # of each stream; a runner's record takes kilobytes
LOOK_S = 0.05


class TooMuch(Exception):
    """It says more than any program of edgekit does."""

    def __str__(self) -> str:
        return f"it answered more than {MOST_BYTES >> 20} MiB and was ended; this is no runner"


def exchange(
    argv: Sequence[str],
    stdin: bytes | BinaryIO,
    timeout_s: float,
    *,
    held: bool = False,
    folder: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Runs a program.

    Its output goes to files: the shared connection of ssh keeps a pipe open after the program has ended.

    Args:
        argv: The program and its arguments.
        stdin: What it reads.
        timeout_s: When to give up, in seconds.
        held: Whether its stdin stays open while it runs, so that it sees by the end of it when this process dies.
        folder: Where it runs.
        variables: All of its environment.

    Raises:
        subprocess.TimeoutExpired: It takes longer.
        TooMuch: It says more than MOST_BYTES.
        OSError: It cannot be started.
    """
    with TemporaryFile() as out, TemporaryFile() as err, TemporaryFile() as given:
        text = stdin if isinstance(stdin, bytes) else b""
        given.write(text)
        given.seek(0)
        source = subprocess.PIPE if held else given if isinstance(stdin, bytes) else stdin
        process = subprocess.Popen(
            list(argv), stdin=source, stdout=out, stderr=err, cwd=folder, env=variables
        )
        try:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.write(text)
                    process.stdin.flush()
            _wait(process, timeout_s, (out, err))
        finally:
            end(process)
        said = [_all_of(stream) for stream in (out, err)]
        return subprocess.CompletedProcess(list(argv), process.returncode, *said)


def _wait(process: "subprocess.Popen[bytes]", timeout_s: float, streams: Sequence[BinaryIO]) -> None:
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise subprocess.TimeoutExpired(process.args, timeout_s)
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_S)
        if any(os.fstat(stream.fileno()).st_size > MOST_BYTES for stream in streams):
            raise TooMuch


def _all_of(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process that is still running, and everything that it started."""
    if process.poll() is None:
        kill_children(process.pid)
        process.kill()
        process.wait()
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


def kill_children(pid: int) -> None:
    """Ends everything that a process started."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
