"""Runs one stage in a process of its own.

Converters crash, take gigabytes and must not meet each other in one process; a child gives the memory back and
turns a crash into a sentence. A stage is a function of one record that returns a record; both cross as JSON.
What the stage prints goes to its log. A child dies with its parent, however that one ends.

The result is written last, beside its place and renamed into it, with the hash of every file of the stage: a folder
that holds one is a finished stage, which `reuse` gives back as long as the files are still those.

    python -P -m edgekit.engine.process SPEC.json RESULT.json PARENT      (internal)
"""

import collections
import contextlib
import errno
import hashlib
import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from edgekit import errors
from edgekit.engine.catalogue import Stage
from edgekit.errors import ChildCrash, DiskFull, EdgekitError, StageTimeout, Stopped
from edgekit.records import Record, StageTime

S = TypeVar("S", bound=Record)
R = TypeVar("R", bound=Record)

# Page faults are expensive on virtual machines: keeping big blocks on glibc's heap made torch CPU work up to 3x faster.
GLIBC_ENV = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}
# A Keras model is an nn.Module with this backend, and edgekit computes on the CPU. Keras reads both when it is imported.
KERAS_ENV = {"KERAS_BACKEND": "torch", "KERAS_TORCH_DEVICE": "cpu"}
# OpenMP threads that spin at barriers made a small training 5x slower beside two busy processes.
PASSIVE_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM_BYTES = 1 << 20  # native writers abort on a full disk: a crash with less than this left is one
DISK_FULL = 74  # exit code of a child that has no room left to write even its error
SPEC, RESULT, LOG, PARTIAL = "spec.json", "result.json", "log.txt", ".partial"
POLL_S = 0.1  # how often a waiting parent checks whether it should stop


def run(
    stage: Stage[S, R],
    spec: S,
    folder: Path,
    *,
    label: str = "",
    stop: threading.Event | None = None,
    limit_s: float | None = None,
) -> tuple[R, StageTime]:
    """Runs one stage in a fresh interpreter.

    Args:
        stage: What to run.
        spec: What goes in.
        folder: Where spec, result and log of this stage are written.
        label: What messages call it; empty is the stage's name.
        stop: Ends the child when set.
        limit_s: In place of the stage's own limit of wall time, in seconds; 0 is none.

    Returns:
        The result, and what it took.

    Raises:
        EdgekitError: What the stage raised.
        Stopped: It was ended by `stop`.
        StageTimeout: It took longer than its limit.
        ChildCrash: Its process died, or raised anything else.
    """
    label = label or stage.name
    limit_s = stage.limit_s if limit_s is None else limit_s
    folder.mkdir(parents=True, exist_ok=True)
    paths = _paths(folder)
    paths[RESULT].unlink(missing_ok=True)
    paths[SPEC].write_text(json.dumps({"function": stage.function, "spec": msgspec.to_builtins(spec)}))
    started = time.perf_counter()
    with paths[LOG].open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "edgekit.engine.process",
                str(paths[SPEC]),
                str(paths[RESULT]),
                str(os.getpid()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment(tuned=not stage.alone)},
        )
        code = _wait(process, label, stop, limit_s or math.inf)
    if code is None:
        raise StageTimeout(
            f"{label} took longer than its limit of {limit_s:g} s and was ended; {last_words(paths[LOG])}; --stage-timeout "
            f"SECONDS sets another limit, 0 none; {_debug(folder)}"
        )
    return _collect(label, code, paths, stage.result, time.perf_counter() - started)


def _paths(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in (SPEC, RESULT, LOG)}


def _wait(
    process: subprocess.Popen[bytes], label: str, stop: threading.Event | None, limit_s: float
) -> int | None:
    """Returns the exit code, None after the limit; whatever ends the waiting ends the child."""
    deadline = time.monotonic() + limit_s
    try:
        while stop is None or not stop.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(POLL_S)
            if time.monotonic() > deadline:
                return None
        raise Stopped(f"{label} was stopped")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def reuse(label: str, result: type[R], folder: Path) -> tuple[R, StageTime] | None:
    """Returns what a finished stage left in `folder`.

    None if there is no such stage, it failed, or a file of it has changed.
    """
    try:
        answer = json.loads((folder / RESULT).read_bytes())
        if answer["files"] != _content(folder):
            return None
        time_ = StageTime(
            stage=label, wall_s=answer["wall_s"], peak_memory_bytes=answer["peak_memory_bytes"], reused=True
        )
        return msgspec.convert(answer["result"], result), time_
    except (OSError, ValueError, KeyError):
        return None


def _content(folder: Path) -> dict[str, str]:
    """Hashes every file that the stage itself wrote, with sha256."""
    ours = {SPEC, RESULT, LOG, RESULT + PARTIAL}
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    found = {}
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name not in ours:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def environment(*, tuned: bool) -> dict[str, str]:
    """Returns the environment variables of a child.

    Args:
        tuned: Whether the settings that make torch fast are among them; a stage that measures time gets none.
    """
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
    # so that the task's modules are found
    path = {"PYTHONPATH": os.pathsep.join(entry for entry in dict.fromkeys(sys.path) if entry)}
    if not tuned:
        return path
    return {**quiet, **path, **KERAS_ENV, **PASSIVE_ENV, **(GLIBC_ENV if sys.platform == "linux" else {})}


def _collect(
    label: str, code: int, paths: dict[str, Path], result: type[R], wall_s: float
) -> tuple[R, StageTime]:
    crashed = not paths[RESULT].is_file()
    if code == DISK_FULL or (crashed and shutil.disk_usage(paths[RESULT].parent).free < NO_ROOM_BYTES):
        raise DiskFull(f"{label}: the disk is full. Free some space and run again")
    if crashed:
        raise ChildCrash(
            f"{label}: {_describe_exit(code)}; {last_words(paths[LOG])}; {_debug(paths[LOG].parent)}"
        )
    answer = json.loads(paths[RESULT].read_bytes())
    if "error" in answer:
        kind, message = answer["error"]["kind"], answer["error"]["message"]
        if kind == ChildCrash.__name__:
            message = f"{label}: {message}; {_debug(paths[LOG].parent)}"
        raise errors.by_name(kind)(message)
    time_ = StageTime(stage=label, wall_s=round(wall_s, 3), peak_memory_bytes=answer["peak_memory_bytes"])
    return msgspec.convert(answer["result"], result), time_


def _debug(folder: Path) -> str:
    return f"to debug it: python -m edgekit.engine.replay {folder} (--keep-work keeps the folder)"


def last_words(log: Path) -> str:
    """Returns the end of a child's log on one line: its folder is gone when the user reads about the crash."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        told = (" ".join(line.split()) for line in lines if " edgekit environment: " not in line)
        said = " | ".join(collections.deque(filter(None, told), maxlen=3))
    return f"its log ends: {said[-400:]}" if said else "its log is empty"


def _describe_exit(code: int) -> str:
    if code in (-signal.SIGSEGV, 128 + signal.SIGSEGV):
        return "the process crashed (segmentation fault; a framework imported before torch and torchvision does this)"
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return "the process was killed (most likely out of memory)"
    if code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with exit code {code} and left no result"


def peak_memory_bytes() -> int | None:
    """Returns VmHWM of this process; never ru_maxrss, which is inherited from the parent on Linux."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), None
    )


def call(spec_path: Path) -> dict[str, Any]:
    """Calls the function that a spec.json names, in this process; returns its result as plain data."""
    job = json.loads(spec_path.read_bytes())
    module, _, name = job["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    spec = msgspec.convert(job["spec"], get_type_hints(function)["spec"])
    return {"result": msgspec.to_builtins(function(spec))}


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, EdgekitError):
        return {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, OSError) and error.errno in FULL:
        return {
            "kind": DiskFull.__name__,
            "message": f"the disk is full: {error}. Free some space and run again",
        }
    text = " ".join(str(error).split())[:600]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return {"kind": ChildCrash.__name__, "message": f"{type(error).__name__}: {text} ({place})"}


def die_with(parent: int) -> None:
    """Makes this process end when `parent` does, by PR_SET_PDEATHSIG, where the system has it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def main(spec_path: str, result_path: str, parent: str) -> None:
    """Runs the stage of a spec file and writes its result, or its error."""
    import logging

    die_with(int(parent))
    started = time.perf_counter()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    given = {name: os.environ.get(name, "") for name in environment(tuned=True)}
    logging.getLogger("edgekit").info("environment: %s", given)
    answer: dict[str, Any]
    try:
        answer = {**call(Path(spec_path)), "files": _content(Path(spec_path).parent)}
    except Exception as error:
        answer = {"error": _failure(error)}
        with contextlib.suppress(OSError):  # the log may lie on a full disk
            traceback.print_exc()
    answer |= {"peak_memory_bytes": peak_memory_bytes(), "wall_s": round(time.perf_counter() - started, 3)}
    partial = Path(result_path + PARTIAL)
    try:
        partial.write_text(json.dumps(answer))  # json, unlike msgspec, keeps infinities
    except OSError as error:
        os._exit(DISK_FULL if error.errno in FULL else 1)
    partial.replace(result_path)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(0)  # native libraries crash in their exit handlers; everything is written


if __name__ == "__main__":
    main(*sys.argv[1:4])
