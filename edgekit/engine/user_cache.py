"""The folder of what outlives a run, for every project of this user."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Returns the folder `name` of edgekit's cache, in $XDG_CACHE_HOME or, without it, in ~/.cache; it may not exist yet."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    place = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
    return place / "edgekit" / name
