"""What tests of app builds share: tools that may be missing, commands in a folder, bundles, and the packages of npm."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from commands import edgekit

PARTS = Path(__file__).parent / "app_builds"


def need(*tools: str) -> None:
    """Skips where a program is not installed."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def npm_modules(*packages: str) -> Path:
    """The node_modules of EDGEKIT_NPM; skips where there is none, or it lacks one of the packages."""
    place = os.environ.get("EDGEKIT_NPM", "")
    modules = Path(place).resolve() / "node_modules"
    if not place or not modules.is_dir():
        pytest.skip("EDGEKIT_NPM names no folder with node_modules")
    for package in packages:
        if not (modules / package).is_dir():
            pytest.skip(f"the node_modules of EDGEKIT_NPM hold no {package}")
    return modules


def run(*command: object, folder: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder, with more variables in its environment."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    return subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip


def ed25519_keys(place: Path, *names: str) -> None:
    """Makes NAME.pem and NAME.pub for every name."""
    need("openssl")
    for name in names:
        run("openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{name}.pem", folder=place)
        run("openssl", "pkey", "-in", f"{name}.pem", "-pubout", "-out", f"{name}.pub", folder=place)


def package(export: Path, out: Path, ecosystems: str, *options: object) -> Path:
    """Makes the bundle `tiny` 1.2.0 at `out`."""
    named = ("--name", "tiny", "--version", "1.2.0", "--license", "MIT", "--for", ecosystems)
    done = edgekit("package", export, *named, *options, "-o", out)
    assert done.exit_code == 0, done.output
    return out


def place_in(archive: Path, name: str) -> tuple[int, int]:
    """Offset and length in bytes of a stored file in a zip."""
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(name)
    assert info.compress_type == zipfile.ZIP_STORED
    head = archive.read_bytes()[info.header_offset : info.header_offset + 30]
    names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    return info.header_offset + 30 + names, info.file_size
