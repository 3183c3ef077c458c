"""The runner as one file: deterministic, small, and enough where only numpy and one runtime are installed."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path
from typing import Any

import edgekit_runner
import pytest
from edgekit_runner.spec import SCHEMA_VERSION

from edgekit.device import zipapp

RUNNER = Path(edgekit_runner.__file__).parent
LIMIT_BYTES = 142_000


def test_its_name_holds_its_hash(runner: Path) -> None:
    assert runner.name == f"runner-{hashlib.sha256(runner.read_bytes()).hexdigest()}.pyz"
    assert runner.stat().st_size < LIMIT_BYTES


def test_the_same_source_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time zone, the umask and the times of the checkout are."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    first = zipapp.build(tmp_path / "here")
    mask = os.umask(0o077)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        again = zipapp.build(tmp_path / "there")
    finally:
        os.umask(mask)
        monkeypatch.undo()
        time.tzset()
    assert again.name == first.name
    assert again.read_bytes() == first.read_bytes()


def test_it_holds_the_whole_package_and_no_byte_code(runner: Path) -> None:
    with zipfile.ZipFile(runner) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    sources = {f"edgekit_runner/{path.relative_to(RUNNER).as_posix()}" for path in RUNNER.rglob("*.py")}
    assert sources <= names
    assert not [name for name in names if name.endswith(".pyc")]


@pytest.fixture
def bare_python(tmp_path: Path) -> list[str]:
    """A Python for which, of all that is installed, only numpy and ONNX Runtime exist; its workers likewise."""
    site = tmp_path / "site"
    site.mkdir()
    installed = Path(sysconfig.get_path("purelib"))
    for name in ("numpy", "numpy.libs", "onnxruntime"):
        if (installed / name).exists():
            (site / name).symlink_to(installed / name)
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
    bare.chmod(0o755)
    start = (
        "import runpy, sys; sys.path.append(sys.argv[1]); sys.executable = sys.argv[2]; "
        "sys.argv = sys.argv[3:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return [str(bare), "-I", "-c", start, str(site), str(bare)]


def run(python: list[str], runner: Path, **spec: object) -> tuple[int, dict[str, Any]]:
    text = json.dumps({"schema_version": SCHEMA_VERSION, **spec})
    command = [*python, str(runner), "run", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_it_runs_where_only_numpy_and_one_runtime_are(
    runner: Path, bare_python: list[str], model: Path, quick: dict[str, object]
) -> None:
    code, record = run(bare_python, runner, artifact=str(model), kind="bench", **quick)
    assert (record["status"], record["reason"], code) == ("ok", None, 0)
    assert record["latency"]["runs_count"] >= 20


def test_its_exit_code_is_the_runners(runner: Path, bare_python: list[str], tmp_path: Path) -> None:
    """zipapp's own entry point would drop it. That LiteRT is missing shows that the other test's Python is bare."""
    (tmp_path / "model.tflite").write_bytes(b"the runtime is looked for before this is read")
    code, record = run(bare_python, runner, artifact=str(tmp_path / "model.tflite"), kind="check")
    assert (code, record["error_kind"]) == (3, "missing_runtime")
    assert "pip install ai-edge-litert" in record["reason"]
    code, record = run(bare_python, runner, artifact=str(tmp_path / "none.onnx"), kind="check")
    assert (code, record["error_kind"]) == (2, "user")
