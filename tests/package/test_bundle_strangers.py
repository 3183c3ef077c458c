"""An export of a stranger, its list sealed again: each fault is one sentence, and nothing is written."""

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import edgekit, run_here
from exported_net import write_export

from edgekit.engine import process
from edgekit.package import manifest_file, sums

NAMED = ("--name", "tiny", "--version", "1.2.0", "--license", "MIT", "--for", "web")


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[None]:
    """Stages run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "run", run_here)
        yield


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Changes the manifest."""

    def damage(folder: Path) -> None:
        path = folder / manifest_file.NAME
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return damage


def with_golden(write: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Puts another golden file there, and its hash into the manifest."""

    def damage(folder: Path) -> None:
        golden = folder / manifest_file.GOLDEN
        golden.unlink()
        write(golden)
        digest = manifest_file.sha256(golden)
        edited(lambda data: data["golden"].update(sha256=digest))(folder)

    return damage


def bomb(path: Path) -> None:
    """An archive that says it unpacks to five gigabytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input_0.npy", bytes(1000))
        archive.filelist[0].file_size = 5 << 30


def link_golden(folder: Path) -> None:
    (folder / manifest_file.GOLDEN).rename(folder.parent / "outside.npz")
    (folder / manifest_file.GOLDEN).symlink_to(folder.parent / "outside.npz")


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "schema version": (edited(lambda d: d.update(schema_version=9)), "has schema_version 9; this edgekit reads 2"),
    "path up": (edited(lambda d: d["artifacts"][0].update(path="../model.onnx")), "points outside its folder: ../model.onnx"),
    "absolute path": (edited(lambda d: d["artifacts"][0].update(path="/etc/passwd")), "points outside its folder: /etc/passwd"),
    "golden up": (edited(lambda d: d["golden"].update(path="../golden.npz")), "points outside its folder: ../golden.npz"),
    "label more": (edited(lambda d: d["preprocessing"]["labels"].append("five")), "has 5 labels, but its outputs are (1, 4)"),
    "no golden": (with_golden(lambda p: p.write_bytes(b"PK no zip")), "is not a golden .npz"),
    "one output": (with_golden(lambda p: np.savez(p, input_0=np.zeros(3))), "holds input_0; allowed: input_0.., output_0.."),
    "pickle": (with_golden(lambda p: np.savez(p, input_0=np.array([{}]), output_0=np.zeros(1))), "is not a golden .npz"),
    "hash": (edited(lambda d: d["artifacts"][0].update(sha256="0" * 64)), "was altered after export"),
    "link": (link_golden, "golden.npz is a link"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_stranger_s_export(name: str, tmp_path: Path) -> None:
    damage, sentence = FAULTS[name]
    folder = write_export(tmp_path / "export")
    damage(folder)
    sums.seal(folder)
    refused(tmp_path, folder, sentence)


def test_a_zip_bomb(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export")
    with_golden(bomb)(folder)
    assert (folder / manifest_file.GOLDEN).stat().st_size < 1000
    sums.seal(folder)
    refused(tmp_path, folder, "its arrays take 5368709120 bytes, more than 4294967296")
    done = edgekit("verify", folder)
    assert done.exit_code == 2 and "more than 4294967296" in done.stderr and done.stderr.count("\n") == 1


def refused(root: Path, folder: Path, sentence: str) -> None:
    """One sentence, and nothing beside the export."""
    before = sorted(root.iterdir())
    done = edgekit("package", folder, *NAMED, "-o", root / "dist")
    assert done.exit_code in (1, 2) and sentence in done.stderr and done.stderr.count("\n") == 1, done.output
    assert sorted(root.iterdir()) == before
