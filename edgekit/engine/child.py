"""What a stage's own process does: calls the function that a spec names and leaves its result, or its error.

python -P -m edgekit.engine.child SPEC.json RESULT.json PARENT FAMILY      (internal)
"""

import contextlib
import errno
import hashlib
import importlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from edgekit.engine import families, task_modules
from edgekit.engine.environment import PRIVATE, environment
from edgekit.errors import ChildCrash, DiskFull, EdgekitError, TaskError, UserError
from edgekit.records import convert

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM_BYTES = 1 << 20  # native writers abort on a full disk: a failure with less than this left is one
DISK_FULL = 74  # exit code of a child that has no room left to write even its error
SPEC, RESULT, LOG, PARTIAL, TEMPORARY = "spec.json", "result.json", "log.txt", ".partial", ".tmp"


def content(folder: Path) -> dict[str, str]:
    """Hashes every file that a stage itself wrote into its folder, with sha256."""
    ours = {SPEC, RESULT, LOG, RESULT + PARTIAL}
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder)
        if name.as_posix() not in ours and name.parts[0] != TEMPORARY:
            with path.open("rb") as file:
                found[name.as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def memory_bytes(what: str) -> int | None:
    """Returns a figure of this process as Linux has it; None elsewhere.

    Args:
        what: "VmHWM", its peak (never ru_maxrss, which is inherited from the parent), or "VmRSS", what it has now.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(what)), None)


def _cpu_s() -> float:
    """Returns the CPU seconds of this process and of those that it has waited for."""
    times = os.times()
    return round(times.user + times.system + times.children_user + times.children_system, 3)


def call(spec_path: Path) -> dict[str, Any]:
    """Calls the function that a spec.json names, in this process; returns its result as plain data."""
    job = json.loads(spec_path.read_bytes())
    module, _, name = job["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    spec = convert(job["spec"], get_type_hints(function)["spec"])
    return {"result": msgspec.to_builtins(function(spec))}


def failure(error: BaseException) -> dict[str, Any]:
    """Returns what the parent is told of an error: its kind by name, and its sentence."""
    if isinstance(error, SystemExit):
        message = (
            f"the task's code called sys.exit({error.code!r}) while edgekit ran it; raise an error instead"
        )
        return {"kind": TaskError.__name__, "message": message}
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


def run(spec_path: Path, result_path: Path, *, shared_bytes: int = 0) -> None:
    """Runs the stage of a spec file, writes its result or its error, and ends this process.

    Args:
        spec_path: The stage's spec.json.
        result_path: Where the answer goes: written last, beside its place, and renamed into it.
        shared_bytes: What this process had in memory when it was forked; it is not the stage's own.
    """
    started = time.perf_counter()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    given = {name: os.environ.get(name, "") for name in environment(tuned=True) if name not in PRIVATE}
    logging.getLogger("edgekit").info("environment: %s", given)
    answer: dict[str, Any]
    try:
        with _own_temporary_folder(spec_path.parent), full_disk_named(spec_path.parent):
            answer = call(spec_path)
        answer |= {"files": content(spec_path.parent)}
    except (Exception, SystemExit) as error:
        answer = {"error": failure(error)}
        with contextlib.suppress(OSError):  # the log may lie on a full disk
            traceback.print_exc()
    peak = memory_bytes("VmHWM")
    answer |= {
        "peak_memory_bytes": peak and peak - shared_bytes,
        "shared_memory_bytes": shared_bytes,
        "cpu_s": _cpu_s(),
        "wall_s": round(time.perf_counter() - started, 3),
    }
    _leave(answer, result_path)


@contextlib.contextmanager
def _own_temporary_folder(folder: Path) -> Any:
    """What a stage and its converters put aside goes into its own folder and with it; coremltools leaves copies."""
    place = folder / TEMPORARY
    place.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
    try:
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Any:
    """Calls a full disk by its name: a native writer says anything of it, such as that a model cannot be serialized.

    Raises:
        DiskFull: Something that is not the user's failed, and there is no room left in the folder.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_full(folder):
            raise
        said = " ".join(str(error).split())[:200]
        raise DiskFull(
            f"the disk is full ({type(error).__name__}: {said}). Free some space and run again"
        ) from error


def is_full(folder: Path) -> bool:
    """Whether there is hardly any room left where a folder is; not where the user's code removed it."""
    try:
        return shutil.disk_usage(folder).free < NO_ROOM_BYTES
    except FileNotFoundError:
        return False


def _leave(answer: dict[str, Any], result_path: Path) -> None:
    partial = result_path.with_name(result_path.name + PARTIAL)
    try:
        partial.write_text(json.dumps(answer))  # json, unlike msgspec, keeps infinities
    except OSError as error:
        os._exit(DISK_FULL if error.errno in FULL else 1)
    partial.replace(result_path)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(0)  # native libraries crash in their exit handlers; everything is written


task_modules.find_in_workers(__name__)
if __name__ == "__main__":
    die_with(int(sys.argv[3]))
    families.load_if_hiding(sys.argv[4])
    run(Path(sys.argv[1]), Path(sys.argv[2]))
