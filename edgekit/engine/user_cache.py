"""The folder of what outlives a run, for every project of this user, and of nobody else."""

import os
from pathlib import Path

from edgekit.engine import private


def cache_folder(name: str) -> Path:
    """Returns the folder `name` of edgekit's cache, in $XDG_CACHE_HOME or, without it, in ~/.cache; it may not exist yet."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    place = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
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
