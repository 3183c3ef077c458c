"""The generated Android loader on a JVM, with the three classes of Android that it asks in the place of those of a phone."""

from pathlib import Path

import pytest
from app_tools import PARTS, need, package, place_in, run
from commands import run_here
from exported_net import write_export

from edgekit.engine import process


def test_a_stored_model_is_mapped_a_compressed_one_copied_an_altered_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("javac", "java")
    monkeypatch.setattr(process, "run", run_here)
    model = write_export(tmp_path / "export") / "model.onnx"
    dist = package(tmp_path / "export", tmp_path / "dist", "android")
    sources = [
        *(dist / "android" / "src" / "tiny-onnx" / "java").rglob("*.java"),
        *(PARTS / "loader").rglob("*.java"),
    ]
    flags = ("--release", "8", "-Xlint:all,-options,-try", "-Werror", "-d", tmp_path / "classes")
    done = run("javac", *flags, *sources, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (aar,) = dist.rglob("*.aar")
    where = place_in(aar, "assets/edgekit/tiny/onnx/model.onnx")
    done = run("java", "-cp", tmp_path / "classes", "Load", aar, *where, model, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "stored mapped true ok",
        "compressed copied true ok",
        "altered copied true edgekit: checksum mismatch for edgekit/tiny/onnx/model.onnx",
        "pixels [1, 2, 3, -1, 0, -2]",
    ]
