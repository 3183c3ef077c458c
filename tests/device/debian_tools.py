"""adb, adbd and sshd of Debian, fetched once and unpacked, without installing anything (see `edgekit.arm.debian`).

Roughly 27 MB to fetch and 100 MB unpacked.

    python debian_tools.py          prints where they are
"""

import fcntl
import os
import sys
from pathlib import Path

from edgekit.arm import debian
from edgekit.errors import MissingRuntime

SUITE = "trixie"  # the first with an adb that has shell_v2 and an adbd beside it
PACKAGES = ("adb", "adbd", "openssh-server")


def fetch() -> Path:
    """The folder that holds the unpacked packages. Raises MissingRuntime."""
    cache = _cache()
    place = cache / "-".join(("debian", SUITE, *PACKAGES))
    with (cache / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not place.is_dir():
            debian.unpack(PACKAGES, place, SUITE)
    return place


def _cache() -> Path:
    """$XDG_CACHE_HOME, or a folder of the checkout that tells git to ignore it."""
    given = os.environ.get("XDG_CACHE_HOME")
    cache = Path(given) / "edgekit" if given else Path(__file__).parents[2] / ".cache"
    cache.mkdir(parents=True, exist_ok=True)
    if not given:
        (cache / ".gitignore").write_text("*\n")
    return cache


if __name__ == "__main__":
    try:
        print(fetch())
    except MissingRuntime as error:
        sys.exit(str(error))
