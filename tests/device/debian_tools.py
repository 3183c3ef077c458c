"""Fetches Debian packages with all they depend on and unpacks them, without installing anything.

A private apt root keeps the system's own state out of it: `apt-get --download-only install` against an empty
list of installed packages resolves and fetches the whole closure, the C library included, so that the
programs run on any Linux of this architecture through the loader that came with them. Packages are pinned
by name and suite, not by version. Roughly 27 MB to fetch and 100 MB unpacked for adb, adbd and sshd, once.

    python debian_tools.py          prints where they are
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUITE = "trixie"  # the first with an adb that has shell_v2 and an adbd beside it
PACKAGES = ("adb", "adbd", "openssh-server")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FETCH_S = 300


class Unavailable(Exception):
    """Why the packages cannot be had here."""


def fetch() -> Path:
    """The folder that holds the unpacked packages. Raises Unavailable."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is not here: the tools come from Debian packages")
    if not KEYRING.is_file():
        raise Unavailable(f"{KEYRING} is not here: Debian's signatures cannot be checked")
    cache = _cache()
    place = cache / "-".join(("debian", SUITE, *PACKAGES))
    with _locked(cache / "lock"):
        if not place.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as name:
                _unpack(_download(Path(name)), Path(name) / "unpacked")
                (Path(name) / "unpacked").rename(place)
    return place


def loader(place: Path) -> list[str]:
    """How a program of `place` is called: its own loader, with its own libraries."""
    found = sorted(place.glob("usr/lib*/ld-linux-*"))
    if not found:
        raise Unavailable(f"the loader is not below {place}")
    libraries = sorted({str(path.parent) for path in place.glob("usr/lib/*-linux-gnu/**/lib*.so.*")})
    return [str(found[0]), "--library-path", ":".join(libraries), "--argv0"]


def _cache() -> Path:
    """$XDG_CACHE_HOME, or a folder of the checkout that tells git to ignore it."""
    given = os.environ.get("XDG_CACHE_HOME")
    cache = Path(given) / "edgekit" if given else Path(__file__).parents[2] / ".cache"
    cache.mkdir(parents=True, exist_ok=True)
    if not given:
        (cache / ".gitignore").write_text("*\n")
    return cache


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _download(work: Path) -> list[Path]:
    for folder in ("etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "state" / "status").touch()
    (work / "etc" / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {SUITE} main\n")
    settings = {
        "Dir::Etc": work / "etc",
        "Dir::Etc::sourcelist": work / "etc" / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": work / "state",
        "Dir::State::status": work / "state" / "status",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": 2,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": 1,
    }
    apt = ["apt-get", "-qq", *(part for key, value in settings.items() for part in ("-o", f"{key}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "--yes", "--download-only", "install", *PACKAGES])
    return sorted((work / "cache" / "archives").glob("*.deb"))


def _mirror() -> str:
    """The mirror that this system itself uses."""
    said = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)"])
    found = [line for line in said.splitlines() if re.search(r"/debian/?$", line)]
    if not found:
        raise Unavailable("this system's apt names no Debian mirror")
    return found[0]


def _unpack(archives: list[Path], place: Path) -> None:
    place.mkdir()
    for archive in archives:
        _run(["dpkg-deb", "--extract", str(archive), str(place)])


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=FETCH_S)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{argv[0]} took longer than {FETCH_S} s") from error
    if done.returncode != 0:
        raise Unavailable(f"{argv[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        print(fetch())
    except Unavailable as error:
        sys.exit(str(error))
