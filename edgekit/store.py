"""Output folders: written beside their place and renamed into it, never half there."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import UserError

MARK = "report.json"


def check_output(out: Path) -> None:
    """Raises UserError unless `out` is free, empty, or an edgekit folder that may be replaced."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"output {out} exists and is not a folder; give another -o")
    if out.is_dir() and any(out.iterdir()) and not _is_ours(out / MARK):
        raise UserError(
            f"output folder {out} exists and was not written by edgekit; give another -o or empty it"
        )


def _is_ours(mark: Path) -> bool:
    """Whether `mark` is a report of ours: other tools write a report.json too, and theirs is not ours to replace."""
    try:
        return b'"edgekit_version"' in mark.read_bytes()
    except OSError:
        return False


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into; on success it takes `out`'s place, on any error nothing is left.

    Raises UserError if the folder cannot be made, or the disk runs full.
    """
    check_output(out)
    out = out.absolute()  # "." has no name to rename
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    except OSError as error:
        raise UserError(f"cannot write beside {out}: {error.strerror}") from error
    try:
        yield partial
        _replace(partial, out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full while writing {out}; nothing was changed") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(partial: Path, out: Path) -> None:
    partial.chmod(0o777 & ~_umask())
    if not out.exists():
        partial.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    try:
        out.rename(old / out.name)
        partial.rename(out)
    except OSError:
        if not out.exists():
            (old / out.name).rename(out)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def copy_content(source: Path, target: Path) -> None:
    """Copies a file or a folder artifact."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        for file in sorted(p for p in source.rglob("*") if p.is_file()):  # copytree would hide a full disk
            copy_content(file, target / file.relative_to(source))
    else:
        shutil.copyfile(source, target)
