"""A model that is too large for Play's base module lies in an asset pack, and the AAR holds its code alone."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_tools import package
from commands import edgekit, run_here
from exported_net import write_export

from edgekit.engine import process
from edgekit.package.bundle import android

pytestmark = pytest.mark.skipif(shutil.which("javac") is None, reason="javac is not installed")
MODEL = "edgekit/tiny/onnx/model.onnx"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stages run in this process."""
    monkeypatch.setattr(process, "run", run_here)
    yield


def in_a_pack(export: Path, dist: Path) -> None:
    """The model, its manifest and its golden answers are in the pack, byte for byte, and nowhere else under android/."""
    pack = dist / "android" / "asset-pack" / "tiny_onnx"
    assets = pack / "src" / "main" / "assets"
    assert (assets / MODEL).read_bytes() == (export / "model.onnx").read_bytes()
    assert (assets / MODEL).with_name("manifest.json").is_file()
    assert {"golden.json", "image.u8", "input_0.f32"} <= {
        p.name for p in (assets / MODEL).with_name("golden").iterdir()
    }
    said = (pack / "build.gradle").read_text()
    assert (
        "id 'com.android.asset-pack'" in said and "packName = 'tiny_onnx'" in said and "install-time" in said
    )
    (aar,) = dist.rglob("*.aar")
    with zipfile.ZipFile(aar) as archive:
        assert not [name for name in archive.namelist() if name.startswith("assets/")]
    done = edgekit("verify", dist)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("limit", ["below", "at"])
def test_the_pack_begins_above_the_limit(limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = write_export(tmp_path / "export")
    size_bytes = (export / "model.onnx").stat().st_size
    monkeypatch.setattr(android, "ASSET_PACK_BYTES", size_bytes - (limit == "below"))
    dist = package(export, tmp_path / "dist", "android")
    if limit == "below":
        in_a_pack(export, dist)
    else:
        assert not (dist / "android" / "asset-pack").exists()


@pytest.mark.bundles
def test_a_model_above_150_mb(tmp_path: Path) -> None:
    export = write_export(tmp_path / "export", ballast_bytes=android.ASSET_PACK_BYTES)
    assert (export / "model.onnx").stat().st_size > 150_000_000
    in_a_pack(export, package(export, tmp_path / "dist", "android"))
