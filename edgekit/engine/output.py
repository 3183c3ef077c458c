"""Output folders: written beside their place and renamed into it, never half there."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import DiskFull, UserError

MARK = "report.json"
PARTIAL, OLD = "out", "old"  # the new output and the former one, in the work folder


def check_output(out: Path) -> None:
    """Checks that an output folder may be written.

    Raises:
        UserError: `out` is neither free nor empty nor an edgekit folder that may be replaced.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"output {out} exists and is not a folder; give another -o")
    if out.is_dir() and any(out.iterdir()) and not _is_ours(out / MARK):
        raise UserError(
            f"output folder {out} exists and was not written by edgekit; give another -o or empty it"
        )


def _is_ours(mark: Path) -> bool:
    """Whether `mark` is a report of ours: other tools write a report.json too, and theirs must not be replaced."""
    try:
        return b'"edgekit_version"' in mark.read_bytes()
    except OSError:
        return False


@contextmanager
def output_folder(out: Path, work: Path) -> Iterator[Path]:
    """Yields a folder in `work` to write into; on success it takes `out`'s place, on any error nothing is left.

    Args:
        out: The output folder.
        work: A folder beside `out` that belongs to this process alone: renaming needs the same file system, and what a
            killed process leaves there is found again.

    Raises:
        UserError: The disk runs full.
    """
    check_output(out)
    out = out.absolute()  # "." has no name to rename
    partial = work / PARTIAL
    try:
        partial.mkdir()
        yield partial
        _replace(partial, out, work / OLD)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"the disk is full while writing {out}; nothing was changed") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(partial: Path, out: Path, old: Path) -> None:
    """Renames twice; `put_back` undoes the first for a process that was killed between them."""
    if not out.exists():
        partial.rename(out)
        return
    out.rename(old)
    try:
        partial.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def put_back(out: Path, work: Path) -> None:
    """Restores the former output, where a killed process had moved it aside and nothing has taken its place."""
    if (work / OLD).is_dir() and not out.exists():
        (work / OLD).rename(out)


def copy_content(source: Path, target: Path) -> None:
    """Copies a file or a folder artifact."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        for file in sorted(p for p in source.rglob("*") if p.is_file()):  # copytree would hide a full disk
            copy_content(file, target / file.relative_to(source))
    else:
        shutil.copyfile(source, target)
