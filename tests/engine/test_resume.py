"""A walk that is killed goes on where it was: the same bytes as one that nobody disturbed.

`benchmarks/resume.py` kills at random moments; here it is done twice in one walk, early and late.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from edgekit_runner.artifact import sha256

pytestmark = pytest.mark.long

SMALL = Path(__file__).parents[1] / "task_files" / "small.py"
TARGETS = Path(__file__).parents[2] / "targets"
LIMIT_S = 300


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages: with other sources nothing would be reused, and somebody may be editing these."""
    place = tmp_path_factory.mktemp("package")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("edgekit", "runner/edgekit_runner"):
        shutil.copytree(TARGETS.parent / name, place / Path(name).name, ignore=ignore)
    shutil.copytree(TARGETS, place / "targets")
    return place


def start(package: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """Speed does not decide: which recipe is shipped must not depend on what else this machine does."""
    wanted = ["-t", "x86-server", "-t", "tflite-int8", "--min-speedup", "0", "--no-cache", "-o", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "edgekit", "export", f"{SMALL}:task", *wanted, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=package,  # of `-m`, the current folder comes first
        env={**os.environ, "PYTHONPATH": str(package)},
    )


def finish(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, said
    return said


def kill_when(process: subprocess.Popen[str], ripe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not ripe():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline, "never came to where it is to be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def artifacts(out: Path) -> dict[str, str]:
    found = {str(path.relative_to(out)): sha256(path) for path in out.glob("*/model.*")}
    assert len(found) == 4, "two shipped, two float"
    return found


@pytest.fixture(scope="module")
def undisturbed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    finish(start(package, out))
    return artifacts(out)


@pytest.mark.slow
def test_killed_twice_and_resumed(package: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / ".out.edgekit-work"

    def begun(stage: str) -> Callable[[], bool]:
        return lambda: any(work.glob(f"*/{stage}-*/spec.json"))

    kill_when(start(package, out), begun("ptq"))
    kept = len(list(work.glob("shared/export-*/result.json")))
    assert kept >= 1 and not out.exists()
    kill_when(start(package, out, "--resume"), begun("verify"))
    said = finish(start(package, out, "--resume"))
    assert said.count(": reused, ") >= kept + 1, said
    assert artifacts(out) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_two_whole_runs_with_one_seed_give_the_same_bytes(
    package: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """Another place, another process, another moment: none of them is in the files."""
    finish(start(package, tmp_path / "elsewhere" / "second"))
    assert artifacts(tmp_path / "elsewhere" / "second") == undisturbed


def test_what_sigterm_stops_is_kept_and_another_model_is_not_met(package: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / ".out.edgekit-work"
    process = start(package, out)
    while not any(work.glob("shared/export-*/result.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == (
        "edgekit: stopped; the finished stages are kept: --resume (in Python resume=True) continues"
    )
    other = start(package, out, "--resume", "--seed", "7")
    line = next(line for line in other.stderr or () if "cached stages" in line)
    other.terminate()
    other.communicate(timeout=60)
    assert line == "all targets  cached stages ignored, changed: the seed\n"
