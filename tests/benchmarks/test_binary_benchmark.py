"""The binary benchmark: a kernel measured for real, rows that are kept, the tables."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

pytest.importorskip("openvino")
import binary
import binary_time
from binary import Kept
from binary_time import Row


def test_a_kernel_is_proven_and_timed_once(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(binary_time, "SHAPES", ((16, 24, 3, 2, 7),))
    monkeypatch.setattr(binary_time, "ROUNDS", 2)
    assert binary.main(["kernels", "--work", str(tmp_path)]) == 0
    (row,) = Kept(tmp_path / binary.RESULT).rows
    assert row.name == "16 to 24, 3x3, stride 2, 7x7" and row.bytes == (16 * 24 * 9 * 4, 16 * 24 * 9 // 8)
    assert row.float_ms and row.binary_ms and row.median_ratio
    monkeypatch.setattr(binary_time, "kernel", lambda *_: pytest.fail("it was measured before"))
    assert binary.main(["kernels", "--work", str(tmp_path)]) == 0
    assert "16 to 24, 3x3" in capsys.readouterr().out


def test_the_table_of_accuracy() -> None:
    rows = [
        Row(
            kind="accuracy",
            name="all",
            seed=seed,
            metrics=(value, value - 0.01),
            figures={"binary layers": 18},
        )
        for seed, value in enumerate((0.5, 0.6))
    ]
    rows.append(Row(kind="accuracy", name="float twin", metrics=(0.8, None)))
    _, every, third, twin = binary.table("accuracy", rows)
    assert every == ["all", "18", "50.00, 60.00", "55.00", "49.00, 59.00"]
    assert third == ["layer3", "-", "-", "-", "-"]
    assert twin == ["float twin", "0", "80.00", "80.00", "-"]


def test_a_missing_file_is_named(tmp_path, capsys) -> None:
    assert binary.main(["nets", "--work", str(tmp_path), "--weights", "none"]) == 2
    assert "weights 'none' cannot be read" in capsys.readouterr().err
