"""Runs one stage in a process of its own.

Converters crash, take gigabytes and must not meet each other in one process; a child gives the memory back and
turns a crash into a sentence. A stage is a function of one record that returns a record; both cross as JSON.
What the stage prints goes to its log.

    python -P -m edgekit.child SPEC.json      (internal)
"""

import contextlib
import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from edgekit import errors
from edgekit.errors import ChildCrash, EdgekitError, UserError
from edgekit.records import Record, StageTime

R = TypeVar("R", bound=Record)

# Page faults are dear on virtual machines: keeping big blocks on glibc's heap made torch CPU work up to 3x faster.
GLIBC_ENV = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}
# OpenMP threads that spin at barriers made a small training 5x slower beside two busy processes.
PASSIVE_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = 74  # exit code of a child that has no room left to write even its error


def run(stage: str, function: str, spec: Record, result: type[R], folder: Path) -> tuple[R, StageTime]:
    """Calls `function` ("package.module:name") with `spec` in a fresh interpreter.

    folder: where spec, result and log of this stage are written. Raises the EdgekitError that the stage raised,
    or ChildCrash if the process died or raised anything else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / name for name in ("spec.json", "result.json", "log.txt")}
    paths["result.json"].unlink(missing_ok=True)
    paths["spec.json"].write_text(json.dumps({"function": function, "spec": msgspec.to_builtins(spec)}))
    started = time.perf_counter()
    with paths["log.txt"].open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "edgekit.child", str(paths["spec.json"]), str(paths["result.json"])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_environment()},
        )
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return _collect(stage, code, paths, result, time.perf_counter() - started)


def _environment() -> dict[str, str]:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
    path = {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)
    }  # so that the task's modules are found
    return {**quiet, **path, **PASSIVE_ENV, **(GLIBC_ENV if sys.platform == "linux" else {})}


def _collect(
    stage: str, code: int, paths: dict[str, Path], result: type[R], wall_s: float
) -> tuple[R, StageTime]:
    if code == DISK_FULL:
        raise UserError(f"{stage}: the disk is full. Free some space and run again")
    if not paths["result.json"].is_file():
        raise ChildCrash(f"{stage}: {_describe_exit(code)}; {last_words(paths['log.txt'])}")
    answer = json.loads(paths["result.json"].read_bytes())
    if "error" in answer:
        kind, message = answer["error"]["kind"], answer["error"]["message"]
        raise errors.by_name(kind)(f"{stage}: {message}" if kind == ChildCrash.__name__ else message)
    time_ = StageTime(stage=stage, wall_s=round(wall_s, 3), peak_memory_bytes=answer["peak_memory_bytes"])
    return msgspec.convert(answer["result"], result), time_


def last_words(log: Path) -> str:
    """The end of a child's log, on one line: its folder is gone when the user reads of the crash."""
    tail = log.read_bytes()[-4000:].decode("utf-8", errors="replace")
    lines = [" ".join(line.split()) for line in tail.splitlines() if " edgekit environment: " not in line]
    said = " | ".join([line for line in lines if line][-3:])
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
    """VmHWM of this process; never ru_maxrss, which is inherited from the parent on Linux."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), None
    )


def _stage(spec_path: Path) -> dict[str, Any]:
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
            "kind": UserError.__name__,
            "message": f"the disk is full: {error}. Free some space and run again",
        }
    text = " ".join(str(error).split())[:600]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return {"kind": ChildCrash.__name__, "message": f"{type(error).__name__}: {text} ({place})"}


def main(spec_path: str, result_path: str) -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("edgekit").info("environment: %s", _environment())
    answer: dict[str, Any]
    try:
        answer = _stage(Path(spec_path))
    except Exception as error:
        answer = {"error": _failure(error)}
        with contextlib.suppress(OSError):  # the log may lie on a full disk
            traceback.print_exc()
    answer["peak_memory_bytes"] = peak_memory_bytes()
    partial = Path(result_path + ".partial")
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
    main(*sys.argv[1:3])
