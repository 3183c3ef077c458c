"""The folder of an unfinished run: it keeps finished stages, so that a run that was killed can continue.

It lies beside the output, `.<name>.edgekit-work`, or in it where the output is a mount point (see `edgekit.engine.output`).
It is its user's alone: stages load programs from it, and a resumed run trusts what it finds. One run at a time owns it, by a lock that the system takes back when the owner dies. It is gone after a
normal end; a run that was stopped leaves it, as soon as it holds one finished stage.

A stage is kept under a key of what went in (see `edgekit.engine.stages`). What all stages rest on, the model, the data, the
task's code and the versions of the tools, is the fingerprint: with another one nothing is reused.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgekit.engine import private
from edgekit.engine.child import FULL, RESULT
from edgekit.engine.output import (
    GONE,
    PARTIAL,
    absolute,
    check_place,
    output_folder,
    put_back,
    was_interrupted,
    work_place,
)
from edgekit.errors import ConversionError, DiskFull, UserError

FINGERPRINT, LOCK, TRACE = "fingerprint.json", "lock", "trace"
KEPT = "the finished stages are kept: --resume (in Python resume=True) continues"
Say = Callable[[str], None]


@contextmanager
def work_folder(out: Path, resume: bool, say: Say, keep: bool = False) -> Iterator[Path]:
    """Yields the folder for what stages write, of this run alone.

    After an error it stays if there is something to resume; a model that does not convert is another one when it is mended.

    Args:
        out: The output folder; the work folder lies beside it.
        resume: Whether the finished stages of an earlier run are kept.
        say: Is told what was kept or removed.
        keep: Whether the folder stays after a normal end, too.

    Raises:
        UserError: Another run writes `out`, or the folder cannot be made.
    """
    out = absolute(out)
    work = work_place(out)
    with _locked(work, out):
        put_back(out, work)
        _begin(work, resume, say)
        try:
            yield work
        except BaseException as error:
            in_vain = isinstance(error, ConversionError) or not any(stages(work))
            if isinstance(error, DiskFull) or (in_vain and not keep):
                shutil.rmtree(work, ignore_errors=True)
            else:
                error.add_note(KEPT)
                say(KEPT)
            raise
        if keep:
            say(f"the folder of the stages is kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def replacement(out: Path, check: Callable[[Path], object]) -> Iterator[Path]:
    """Yields a folder to fill, which takes the place of `out` whole or not at all, as an export does; there is nothing to resume.

    Args:
        out: The output folder.
        check: Raises where something stands there that may not be replaced.

    Raises:
        UserError: No folder can be put there, another run writes it, or the disk runs full.
    """
    check_place(out)
    if not was_interrupted(out):
        check(out)  # before a work folder is made, or what is in one removed
    with (
        work_folder(out, resume=False, say=lambda _: None) as work,
        output_folder(out, work, check) as partial,
    ):
        yield partial


def stages(work: Path) -> Iterator[Path]:
    """Yields the folders of finished stages that a later run may reuse: all but the trace, which is always run."""
    for result in work.glob(f"*/*/{RESULT}"):
        if result.parent.name != TRACE and "result" in _read(result):
            yield result.parent


def invalidate_if_changed(work: Path, fingerprint: Mapping[str, str], say: Say) -> None:
    """Drops the stages of an earlier run whose fingerprint differs, and says in what; then writes this one's."""
    place = work / FINGERPRINT
    earlier = _read(place)
    if earlier != fingerprint:
        changed = [name for name in {**earlier, **fingerprint} if earlier.get(name) != fingerprint.get(name)]
        if earlier:
            say(f"cached stages ignored, changed: {', '.join(changed)}")
        place.unlink(missing_ok=True)  # first: stages without a fingerprint belong to nobody
        for stage in work.glob("*/*"):
            if stage.is_dir() and stage.name != TRACE:
                shutil.rmtree(stage)
    partial = place.with_suffix(".partial")
    partial.write_text(json.dumps(fingerprint, indent=1))
    partial.replace(place)


def _read(place: Path) -> dict[str, Any]:
    """Reads a JSON object; returns an empty one where there is none that can be read."""
    try:
        found = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _begin(work: Path, resume: bool, say: Say) -> None:
    """Removes what an earlier run left, unless it is to be resumed."""
    kept = sum(1 for _ in stages(work))
    if resume and not kept:
        say("nothing to resume: no finished stage was left; everything starts from the beginning")
    elif kept and not resume:
        say(
            f"removed {kept} finished stages of a run that was stopped; --resume would have continued with them"
        )
    for entry in list(work.iterdir()):
        keep = entry.name == FINGERPRINT or (entry.is_dir() and entry.name not in (PARTIAL, GONE))
        if entry.name == LOCK or (resume and keep):
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@contextmanager
def _locked(work: Path, out: Path) -> Iterator[None]:
    """Holds the lock file. The system frees it with its process, so that none is left by a dead one."""
    file = _open_lock(work, out)
    try:
        yield
    finally:
        file.close()


def _open_lock(work: Path, out: Path) -> IO[str]:
    while True:
        try:
            private.make_folder(work)
            file = private.open_file(work, LOCK)
        except private.Gone:  # its last owner removed the folder just now
            continue
        except OSError as error:
            raise UserError(f"cannot write beside {out}: {error.strerror}") from error
        if not _lock(file):
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise UserError(
                f"another run (process {owner}) is writing {out}; wait until it ends, or give another -o"
            )
        if _is_there(file, work / LOCK):
            _sign(file, work, out)
            return file
        file.close()


def _sign(file: IO[str], work: Path, out: Path) -> None:
    """Writes who holds the lock."""
    try:
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
    except OSError as error:
        if not any(stages(work)):
            shutil.rmtree(work, ignore_errors=True)
        kind = DiskFull if error.errno in FULL else UserError
        raise kind(f"cannot write beside {out}: {error.strerror}; give another -o, or make room") from error


def _lock(file: IO[str]) -> bool:
    """Whether nobody else holds it; filelock would hide the descriptor that `_is_there` asks for."""
    if sys.platform == "win32":
        return _lock_on_windows(file)
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_on_windows(file: IO[str]) -> bool:
    """A byte far behind the content: locks are mandatory there, and the owner's number stays readable."""
    import msvcrt

    file.seek(1 << 30)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except OSError:
        return False
    finally:
        file.seek(0)
    return True


def _is_there(file: IO[str], place: Path) -> bool:
    """Whether the locked file is still the one at its place: its last owner may have removed it in the meantime."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), place.lstat())
    except FileNotFoundError:
        return False
