"""Folders that do not outlive their process for long: what a killed one left goes with the next one that is made.

Each is locked as long as its process lives; the system frees the lock, however that one ends.
"""

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX, NEW = "edgekit-scratch-", ".edgekit-new-"


class Scratch:
    """A folder of this process alone, `path`, until `close`.

    Args:
        parent: Where it is made, and those that are left are looked for; None is the temporary folder.
    """

    def __init__(self, parent: Path | None = None) -> None:
        remove_left(parent)
        made = Path(tempfile.mkdtemp(prefix=NEW, dir=parent))
        self._lock = _lock(made)
        self.path = made.rename(
            made.with_name(PREFIX + made.name.removeprefix(NEW))
        )  # locked before it is seen

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes it with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_left(parent: Path | None = None) -> None:
    """Removes the folders of this user's processes that were killed."""
    if sys.platform == "win32":
        return
    for folder in (parent or Path(tempfile.gettempdir())).glob(PREFIX + "*"):
        with suppress(OSError):
            if folder.lstat().st_uid != os.geteuid():
                continue
            held = _lock(folder)
            if held is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def _lock(folder: Path) -> int | None:
    """The descriptor of a folder that is locked now; None where another process holds it, or the system has no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
