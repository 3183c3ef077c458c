"""Writing a report whole or not at all."""

import os
import tempfile
from pathlib import Path

from edgekit.errors import UserError


def write_whole(path: Path, text: str) -> None:
    """Writes beside `path` and renames: a reader sees the old file or the new one, never half of one.

    Raises:
        UserError: The place cannot be written (no folder, no permission, disk full).
    """
    beside: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        beside = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        if beside is not None:
            beside.unlink(missing_ok=True)
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; name a folder that exists and has room"
        ) from error
