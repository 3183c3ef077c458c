"""The three sizes of an artifact."""

import gzip
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import zstandard

from edgekit.export._compressed import compressed
from edgekit.records import Artifact


def test_a_file_takes_what_gzip_and_zstd_make_of_it(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 4, 3_000_000, dtype=np.uint8).tobytes()
    (tmp_path / "model.onnx").write_bytes(data)
    found = compressed(tmp_path / "model.onnx")
    assert abs(found["gzip"] - len(gzip.compress(data, 6))) < 16
    assert abs(found["zstd"] - len(zstandard.ZstdCompressor(level=3).compress(data))) < 0.01 * len(data)
    tool = subprocess.run(
        ["gzip", "-6", "-c", "-n", str(tmp_path / "model.onnx")], capture_output=True, check=True
    )
    assert abs(found["gzip"] - len(tool.stdout)) < 0.01 * len(data)


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    data = [bytes(range(256)) * 40, b"edgekit" * 900]
    place = tmp_path / "model.mlpackage" / "Data"
    place.mkdir(parents=True)
    for name, part in zip(("b.bin", "c.bin"), data, strict=True):
        (place / name).write_bytes(part)
    (tmp_path / "one").write_bytes(b"".join(data))
    assert compressed(tmp_path / "model.mlpackage") == compressed(tmp_path / "one")


def test_older_records_are_read() -> None:
    old = {"path": "a", "format": "onnx", "precision": "int8", "size_bytes": 1, "sha256": "", "inputs": [], "outputs": [],
           "layout": "NCHW", "toolchain": {}}  # fmt: skip
    assert msgspec.convert(old, Artifact).compressed_bytes == {}
