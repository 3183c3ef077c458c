"""Writing a report whole or not at all."""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from edgekit.errors import DiskFull, UserError


def write_whole(path: Path, text: str) -> None:
    """Writes beside `path` and renames: a reader sees the old file or the new one, never half of one.

    A device or a pipe, such as /dev/stdout, is written into and not replaced.

    Raises:
        UserError: The place cannot be written (no folder, no permission, disk full).
    """
    if not path.name:
        raise UserError(f"cannot write {str(path)!r}: it is a folder; give the name of a file")
    if path.exists() and not path.is_file() and not path.is_dir():
        _write_into(path, text)
        return
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # with the rights that umask leaves
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def _write_into(path: Path, text: str) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"the disk is full while writing {path}; free some space, or name another place")
    return UserError(
        f"cannot write {path}: {error.strerror or error}; name a folder that exists and has room"
    )
