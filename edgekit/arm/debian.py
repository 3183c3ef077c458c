"""Debian packages with all they depend on, fetched and unpacked into a folder, without installing anything.

A private apt root keeps the system's own state out of it: `apt-get --download-only install` against an empty list of installed
packages resolves and fetches the whole closure, the C library included, so that the programs run on any Linux of their
architecture through the loader that came with them. Packages are pinned by name and suite, not by version; apt checks Debian's
signatures.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgekit.device.scratch import Scratch
from edgekit.errors import MissingRuntime

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org/debian/"
FETCH_S = 300.0


def unpack(packages: Sequence[str], place: Path, suite: str, arch: str = "amd64") -> None:
    """Fetches packages and unpacks them into a folder, which is there whole or not at all.

    Args:
        packages: Their names.
        place: The folder, which must not exist; its parent must.
        suite: "bookworm" and the like.
        arch: As Debian names it: "amd64", "arm64".

    Raises:
        MissingRuntime: They cannot be had here.
    """
    check_tools()
    with Scratch(place.parent) as work:
        unpacked = work / "unpacked"
        unpacked.mkdir()
        for archive in _download(packages, work, suite, arch):
            _run(["dpkg-deb", "--extract", str(archive), str(unpacked)])
        unpacked.rename(place)


def check_tools() -> None:
    """Raises MissingRuntime where Debian's packages cannot be fetched or checked."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise MissingRuntime(
                f"{program} is not here, and the tools come from Debian packages; use a Debian or Ubuntu system"
            )
    if not KEYRING.is_file():
        raise MissingRuntime(
            f"{KEYRING} is not here, so Debian's signatures cannot be checked; install the package debian-archive-keyring"
        )


def loader(place: Path) -> list[str]:
    """Returns how programs of an unpacked folder are called: their own loader with their own libraries, then argv[0] and the path.

    Raises:
        MissingRuntime: The folder holds no loader.
    """
    found = [path for top in ("lib", "usr/lib") for path in sorted(place.glob(f"{top}*/ld-linux-*"))]
    if not found:
        raise MissingRuntime(f"{place} holds no loader; remove the folder, then run again")
    tops = ("lib", "usr/lib")
    libraries = sorted(
        {str(path.parent) for top in tops for path in place.glob(f"{top}/*-linux-gnu/**/lib*.so.*")}
    )
    return [str(found[0]), "--library-path", ":".join(libraries), "--argv0"]


def _download(packages: Sequence[str], work: Path, suite: str, arch: str) -> list[Path]:
    for folder in ("etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "state" / "status").touch()
    (work / "etc" / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    settings = {
        "Dir::Etc": work / "etc",
        "Dir::Etc::sourcelist": work / "etc" / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": work / "state",
        "Dir::State::status": work / "state" / "status",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": 2,
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": 1,
    }
    apt = ["apt-get", "-qq", *(part for key, value in settings.items() for part in ("-o", f"{key}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "--yes", "--download-only", "install", *packages])
    return sorted((work / "cache" / "archives").glob("*.deb"))


def _mirror() -> str:
    """The Debian mirror that this system itself uses, or Debian's own."""
    said = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)"])
    return next((line for line in said.splitlines() if re.search(r"/debian/?$", line)), MIRROR)


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=FETCH_S, check=False)
    except subprocess.TimeoutExpired:
        raise MissingRuntime(
            f"{argv[0]} took longer than {FETCH_S:g} s; is Debian's mirror reachable?"
        ) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-300:] or "it says nothing"
        raise MissingRuntime(f"{argv[0]} failed: {said}")
    return done.stdout
