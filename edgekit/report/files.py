"""Writing a report whole or not at all."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from edgekit.errors import UserError


def write_whole(path: Path, text: str) -> None:
    """Writes beside `path` and renames: a reader sees the old file or the new one, never half of one.

    Raises:
        UserError: The place cannot be written (no folder, no permission, disk full).
    """
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
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; name a folder that exists and has room"
        ) from error
