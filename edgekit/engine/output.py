"""Output folders: written in a work folder and renamed into their place, never half there.

A folder that cannot be renamed itself, such as a volume mounted into a container, keeps its place: what is in it is moved,
entry by entry, and a run that was killed in between is undone at the next start.
"""

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.errors import DiskFull, UserError
from edgekit.records import foreign

MARK = "report.json"
WORK = "edgekit-work"
# in the work folder: the new output, the whole former one, the former one while its entries are moved one by one, and what of it
# is still to be removed once the new one is in its place
PARTIAL, OLD, MOVING, GONE = "out", "old", "moving", "gone"
MOUNTS = Path("/proc/self/mountinfo")
LONGEST_INSIDE = "x" * 200  # no name that a run makes in its folders is longer


def check_output(out: Path) -> None:
    """Checks that the output folder of an export may be written.

    Raises:
        UserError: As `check_place`, or `out` is neither free nor empty nor an export that may be replaced.
    """
    check_place(out)
    if not (is_free(out) or _is_ours(out / MARK) or was_interrupted(out)):
        raise UserError(
            f"output folder {out} exists and was not written by edgekit; give another -o or empty it"
        )


def is_free(out: Path) -> bool:
    """Whether nothing stands there but an empty folder, or one with edgekit's own work folder in it."""
    return not out.is_dir() or not any(_entries(out))


def was_interrupted(out: Path) -> bool:
    """Whether a run was killed while it put its result at `out`; the next one puts back what stood there, before all else."""
    work = work_place(absolute(out))
    return any((work / name).is_dir() for name in (OLD, MOVING))


def check_place(out: Path) -> None:
    """Checks that a folder can be put at `out`, whatever stands there.

    Raises:
        UserError: No folder can have this name, something else than a folder stands there, or nobody but its owner can replace it.
    """
    _check_name(out)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"output {out} exists and is not a folder; give another -o")
    if out.is_dir() and _only_its_owner_moves(absolute(out)):
        raise UserError(
            f"output folder {out} belongs to another user, and only its owner can replace it there; give another -o"
        )


def _check_name(out: Path) -> None:
    """Asks the system about the longest path that will be made, and whether frameworks can write there."""
    place = absolute(out)
    try:
        if not foreign.is_utf8(str(place)):
            raise ValueError("it is not UTF-8, and torch takes no such path")
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(work_place(place) / LONGEST_INSIDE)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        shown = ascii(str(out)) if len(str(out)) <= 80 else f"{str(out)[:80]!a}..."
        raise UserError(f"output {shown} cannot be the name of a folder: {why}; give another -o") from error


def absolute(path: Path) -> Path:
    """Returns the absolute form of a path.

    Raises:
        UserError: It is relative, and the current folder is gone.
    """
    try:
        return path.absolute()
    except FileNotFoundError as error:
        raise UserError("the current folder was removed; change into one that exists (cd)") from error


def _is_ours(mark: Path) -> bool:
    """Whether `mark` is a report of ours: other tools write a report.json too, and theirs must not be replaced."""
    try:
        return b'"edgekit_version"' in foreign.read_bytes(mark, foreign.MOST_BYTES)
    except (OSError, UserError):  # a pipe that another put there would hold edgekit for ever
        return False


def work_place(out: Path) -> Path:
    """Returns where the work folder of an output lies: beside it, on the same file system, because results are renamed.

    It lies inside where the output cannot be renamed: a mount point, or a folder in one that may not be written.
    """
    fixed = out.is_dir() and (_is_mount(out) or not os.access(out.parent, os.W_OK | os.X_OK))
    return out / f".{WORK}" if fixed else out.parent / f".{out.name}.{WORK}"


def _only_its_owner_moves(out: Path) -> bool:
    """Whether a folder lies in one such as /tmp, where nobody renames what is another's, and is another's."""
    above = out.parent.stat()
    return (
        os.name == "posix"
        and bool(above.st_mode & stat.S_ISVTX)
        and os.geteuid() not in (0, above.st_uid, out.stat().st_uid)
        and not _is_mount(out)
    )


def _is_mount(folder: Path) -> bool:
    """Whether something is mounted here; what is bound from the same file system only the list of mounts tells."""
    if os.path.ismount(folder):
        return True
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return False
    points = (line.split(" ")[4] for line in lines)
    return str(folder.resolve()) in {re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), p) for p in points}


@contextmanager
def output_folder(out: Path, work: Path, check: Callable[[Path], object] = check_output) -> Iterator[Path]:
    """Yields a folder in `work` to write into; on success it takes `out`'s place, on any error nothing is left.

    Args:
        out: The output folder.
        work: Its work folder (`work_place`), which belongs to this process alone: renaming needs the same file system, and
            what a killed process leaves there is found again.
        check: Raises where something stands at `out` that may not be replaced.

    Raises:
        UserError: The disk runs full, or the result cannot be put into its place.
    """
    check(out)
    out = absolute(out)  # "." has no name to rename
    partial = work / PARTIAL
    try:
        partial.mkdir()
        yield partial
        _publish(partial, out, work)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"the disk is full while writing {out}; nothing was changed") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, out: Path, work: Path) -> None:
    """Moves the former output aside and the new one in; `put_back` undoes what a process that was killed left half done."""
    try:
        if work.parent == out:
            _replace_entries(partial, out, work)
        elif out.exists():
            out.rename(work / OLD)
            partial.rename(out)
        else:
            partial.rename(out)
        if (work / OLD).is_dir():
            (work / OLD).rename(work / GONE)  # what is half removed is not put back
    except OSError as error:
        put_back(out, work)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the result cannot be put at {out}: {error.strerror}; what was there is unchanged, give another -o"
        ) from error
    shutil.rmtree(work / GONE, ignore_errors=True)


def _replace_entries(partial: Path, out: Path, work: Path) -> None:
    moving = work / MOVING
    moving.mkdir()
    _move(out, moving)
    moving.rename(work / OLD)
    _move(partial, out)


def put_back(out: Path, work: Path) -> None:
    """Makes an output whole again that a killed process left between two renames: the former one, or the new one if it is there.

    Killed itself, it continues with its next call.
    """
    if work.parent != out:
        _put_folder_back(out, work / OLD)
        return
    if (work / OLD).is_dir():
        (work / PARTIAL).mkdir(exist_ok=True)
        _move(out, work / PARTIAL)
        (work / OLD).rename(work / MOVING)
    if (work / MOVING).is_dir():
        _move(work / MOVING, out)
        (work / MOVING).rmdir()


def _put_folder_back(out: Path, old: Path) -> None:
    if not old.is_dir():
        return
    if out.is_dir() and any(out.iterdir()):
        shutil.rmtree(old)  # the new one is in its place
    else:
        old.rename(out)


def _entries(folder: Path) -> Iterator[Path]:
    """Yields what is in an output folder, except for a work folder."""
    return (entry for entry in folder.iterdir() if entry.name != f".{WORK}")


def _move(source: Path, target: Path) -> None:
    for entry in list(_entries(source)):
        entry.rename(target / entry.name)


def copy_content(source: Path, target: Path) -> None:
    """Copies a file or a folder artifact."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        for file in sorted(p for p in source.rglob("*") if p.is_file()):  # copytree would hide a full disk
            copy_content(file, target / file.relative_to(source))
    else:
        shutil.copyfile(source, target)
