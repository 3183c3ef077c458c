"""What the process of a stage left: its result, its error, or its last words. Nothing that stands there is trusted to be whole."""

import json
import signal
from pathlib import Path
from typing import Any, TypeVar

from edgekit import errors
from edgekit.engine.child import DISK_FULL, LOG, RESULT, content, is_full
from edgekit.errors import ChildCrash, DiskFull
from edgekit.records import Record, StageTime, convert

R = TypeVar("R", bound=Record)
LAST_BYTES = 1 << 16  # of a log, in which its last words stand
NO_RESULT = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)  # of reading a file that is none


def reuse(label: str, result: type[R], folder: Path) -> tuple[R, StageTime] | None:
    """Returns what a finished stage left in `folder`.

    None if there is no such stage, it failed, or a file of it has changed.
    """
    try:
        answer = json.loads((folder / RESULT).read_bytes())
        if answer["files"] != content(folder):
            return None
        return convert(answer["result"], result), _time(label, answer, answer["wall_s"], reused=True)
    except (OSError, *NO_RESULT):
        return None


def collect(label: str, code: int, folder: Path, result: type[R], wall_s: float) -> tuple[R, StageTime]:
    """Reads the answer of a process that has ended.

    Args:
        label: What messages call the stage.
        code: The exit code.
        folder: The stage's.
        result: What the answer holds.
        wall_s: What the stage took, in seconds.

    Raises:
        EdgekitError: What the stage raised.
        DiskFull: There was no room for the answer.
        ChildCrash: There is no answer, or it is none.
    """
    crashed = not (folder / RESULT).is_file()
    if code == DISK_FULL or (crashed and is_full(folder)):
        raise DiskFull(f"{label}: the disk is full. Free some space and run again")
    if crashed:
        raise ChildCrash(
            f"{label}: {_describe_exit(code)}; {last_words(folder / LOG)}; {how_to_debug(folder)}"
        )
    try:
        answer = json.loads((folder / RESULT).read_bytes())
        if "error" not in answer:
            return convert(answer["result"], result), _time(label, answer, wall_s)
        kind, message = errors.by_name(answer["error"]["kind"]), str(answer["error"]["message"])
    except NO_RESULT as odd:  # the task's code wrote it, or a disk lost it
        kind, message = ChildCrash, f"what it left is no result ({type(odd).__name__}: {odd})"
    if kind is ChildCrash:
        message = f"{label}: {message}; {how_to_debug(folder)}"
    raise kind(message)


def _time(label: str, answer: dict[str, Any], wall_s: float, reused: bool = False) -> StageTime:
    return StageTime(
        stage=label,
        wall_s=round(wall_s, 3),
        peak_memory_bytes=answer["peak_memory_bytes"],
        shared_memory_bytes=answer["shared_memory_bytes"],
        reused=reused,
        cpu_s=answer["cpu_s"],
    )


def how_to_debug(folder: Path) -> str:
    """Returns the command that runs a stage again, in the words of a message."""
    return f"to debug it: python -m edgekit.engine.replay {folder} (--keep-work keeps the folder)"


def last_words(log: Path) -> str:
    """Returns the end of a child's log on one line: its folder is gone when the user reads about the crash."""
    if not log.is_file():
        return "it had not begun"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LAST_BYTES))
        lines = file.read(LAST_BYTES).decode("utf-8", "replace").splitlines()
    said_nothing = (" edgekit environment: ", "Traceback (most recent call")
    told = (" ".join(line.split()) for line in lines if not any(text in line for text in said_nothing))
    said = " | ".join([each for each in told if each][-3:])
    return f"its log ends: {said[-400:]}" if said else "its log is empty"


def _describe_exit(code: int) -> str:
    if code in (-signal.SIGSEGV, 128 + signal.SIGSEGV):
        return "the process crashed (segmentation fault; a framework imported before torch and torchvision does this)"
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return "the process was killed (most likely out of memory)"
    if code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with exit code {code} and left no result"
