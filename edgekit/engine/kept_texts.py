"""Outputs of programs that were not understood, whole, in the user's cache: so many bytes, the latest ones."""

import hashlib
from contextlib import suppress
from pathlib import Path

from edgekit.engine.user_cache import private_folder

OUTPUTS = "native-outputs"  # the folder's name in the user's cache
LIMIT_BYTES = 64 << 20  # of all of them; what is above it goes, but for the one that was written last


def keep(text: str, limit_bytes: int = LIMIT_BYTES) -> Path:
    """Writes a text, and removes the oldest ones that are too much.

    Args:
        text: What a program said.
        limit_bytes: What all texts may take.

    Raises:
        UserError: The folder is a link, or another user's.
        OSError: There is no cache, or no room.
    """
    folder = private_folder(OUTPUTS)
    data = text.encode("utf-8", "replace")
    place = folder / f"{hashlib.sha256(data).hexdigest()[:16]}.txt"
    partial = place.with_suffix(".partial")
    try:
        partial.write_bytes(data)
        partial.replace(place)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    _shrink(folder, place, limit_bytes)
    return place


def _shrink(folder: Path, newest: Path, limit_bytes: int) -> None:
    found = []
    for path in folder.iterdir():
        with suppress(OSError):
            status = path.lstat()
            found.append((path == newest, status.st_mtime, status.st_size, path))
    left_bytes = limit_bytes
    for is_newest, _, size_bytes, path in sorted(found, reverse=True):
        left_bytes -= size_bytes
        if left_bytes < 0 and not is_newest:
            with suppress(OSError):
                path.unlink()
