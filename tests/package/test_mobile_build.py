"""`examples/mobile_build/build.sh`, the script that a pipeline calls: `make test-bundles`."""

import json
import os
import sys
from pathlib import Path

import pytest
from app_tools import ed25519_keys, need, run
from commands import SMALL

pytestmark = pytest.mark.bundles
SCRIPT = Path(__file__).parents[2] / "examples" / "mobile_build" / "build.sh"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keys, and bin/edgekit, which is this one."""
    need("javac", "bash")
    place = tmp_path_factory.mktemp("build")
    ed25519_keys(place, "key")
    (place / "bin").mkdir()
    command = place / "bin" / "edgekit"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgekit "$@"\n')
    command.chmod(0o755)
    return place


def build(place: Path, version: str, *last: str, task: str = "photo", **variables: object) -> tuple[int, str]:
    """The exit code and what it said."""
    found = {"PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}", "NAME": "tiny", **variables}
    done = run("bash", SCRIPT, f"{SMALL}:{task}", version, *last, folder=place, **found)
    return done.returncode, done.stdout + done.stderr


def test_it_exports_checks_compares_and_packages(place: Path) -> None:
    signed = {"SIGN": place / "key.pem", "PUBLIC_KEY": place / "key.pub"}
    code, said = build(place, "1.2.0", **signed)
    assert code == 0 and "within the budget" in said and "tflite-int8: ok" in said, said
    code, said = build(place, "1.3.0", "dist-1.2.0", OUT="out-2", **signed)
    assert code == 0 and "arm-mobile: the same file" in said and "yesterday's app code still works" in said, (
        said
    )
    bundle = json.loads((place / "dist-1.3.0" / "bundle.json").read_text())
    assert (bundle["version"], bundle["previous"]) == ("1.3.0", "1.2.0")


def test_what_breaks_the_app_is_not_packaged(place: Path) -> None:
    code, said = build(place, "1.4.0", "dist-1.2.0", task="task", OUT="out-3")  # without preprocessing
    assert code == 1 and "BREAKS: the preprocessing: there is none any more" in said, said
    assert not (place / "dist-1.4.0").exists()


def test_what_is_too_large_is_not_packaged(place: Path) -> None:
    (place / "tight.toml").write_text("[abi.arm64-v8a]\nmax_size_bytes = 100\n")
    code, said = build(place, "1.5.0", OUT="out-4", BUDGET=place / "tight.toml")
    assert code == 1 and "not within the budget" in said and not (place / "dist-1.5.0").exists(), said
