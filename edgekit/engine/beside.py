"""Other versions of a package, beside the environment: installed by pip into a folder of their own, and run from there alone.

A program that runs beside sees the standard library, that folder and what it is given, and nothing of this environment. Packages of
another platform are installed the same way, for an emulator to run.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.device.scratch import Scratch
from edgekit.engine.user_cache import private_folder
from edgekit.errors import MissingRuntime

FOLDER = "beside"
PIP_S = 900.0
HERE = f"py{sys.version_info.major}{sys.version_info.minor}"
_BOOT = "import sys; sys.path[:0] = sys.argv.pop(1).split('|'); exec(sys.argv.pop(1))"


def cached(packages: Sequence[str], platform: str = HERE, options: Sequence[str] = ()) -> Path:
    """Returns the folder of packages in the user's cache, installed on first use: `name==version` each, without what they need.

    Args:
        packages: What is installed.
        platform: What they are for, a part of the folder's name; this Python by default.
        options: What tells pip so.

    Raises:
        MissingRuntime: pip has none for that Python, or cannot be reached.
    """
    name = "+".join([platform, *sorted(packages)])
    place = private_folder(FOLDER) / name.replace("==", "-")
    if not place.is_dir():
        with Scratch(place.parent) as partial:
            install(packages, partial, options)
            try:
                partial.rename(place)
            except OSError:  # another run was faster
                if not place.is_dir():
                    raise
    return place


def install(packages: Sequence[str], place: Path, options: Sequence[str] = ()) -> None:
    """Installs wheels of packages into a folder, without what they need.

    Raises:
        MissingRuntime: pip has none for that Python, or cannot be reached.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--target", str(place), *options, *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_S, check=False)
    except subprocess.TimeoutExpired:
        raise MissingRuntime(f"pip did not fetch {' '.join(packages)} within {PIP_S:g} s") from None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise MissingRuntime(f"pip cannot fetch {' '.join(packages)} for {_named(options)}: {why[-300:]}")


def _named(options: Sequence[str]) -> str:
    return "that platform" if options else "this Python"


def run(
    folders: Sequence[Path], code: str, *arguments: str, stdin: str = "", timeout_s: float = 300.0
) -> "subprocess.CompletedProcess[str]":
    """Runs a program of Python by the packages of some folders alone.

    Raises:
        subprocess.TimeoutExpired: It takes longer.
    """
    where = "|".join(str(folder) for folder in folders)
    command = [sys.executable, "-I", "-S", "-c", _BOOT, where, code, *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
    )
