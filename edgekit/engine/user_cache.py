"""The folder of what outlives a run, for every project of this user, and of nobody else."""

import errno
import os
from pathlib import Path

from edgekit.engine import private


def home() -> Path:
    """Returns the user's home folder.

    Raises:
        OSError: There is none: $HOME is not set, and the user has no entry in /etc/passwd, as in a container.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise OSError(errno.ENOENT, "the user has no home folder; set HOME") from error


def cache_folder(name: str) -> Path:
    """Returns the folder `name` of edgekit's cache, in $XDG_CACHE_HOME or, without it, in ~/.cache; it may not exist yet.

    Raises:
        OSError: Neither is there.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    place = Path(given) if given and Path(given).is_absolute() else home() / ".cache"
    return place / "edgekit" / name


def private_folder(name: str) -> Path:
    """Returns that folder, made where it was not there. Frameworks load programs from such folders, as edgekit does.

    Raises:
        UserError: It, or edgekit's cache itself, is a link or another user's.
        OSError: It cannot be made.
    """
    folder = cache_folder(name)
    private.make_folder(folder.parent, of_private_ones=True)
    private.make_folder(folder)
    return folder
