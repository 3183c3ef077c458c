"""The parts of benchmarks/qat.py that need no data."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import qat
import result_file

from edgekit.errors import UserError


def row(technique: str, metric: float, seed: int | None = None) -> qat.Row:
    return qat.Row(
        setting="x86-4bit",
        technique=technique,
        seed=seed,
        float_metric=0.8,
        metric=metric,
        agreement=None,
        samples=100,
        images=640,
        figures={"seconds to train": 10.0, "conversion gap": 0.0},
        compress_s=12.0,
        peak_memory_bytes=500_000_000,
    )


def test_a_row_says_what_was_lost_and_won_back() -> None:
    rows = [row("ptq", 0.6), row("qat", 0.78, 0), row("qat", 0.76, 1)]
    cells = qat.cells(rows, "x86-4bit")
    assert len(cells) == len(qat.HEAD)
    assert cells[:4] == ["x86-4bit", "80.00", "60.00", "20.00"]
    assert cells[4:8] == ["77.00 [76.00, 78.00]", "3.00 [2.00, 4.00]", "90 %, 80 %", "2"]
    assert qat.cells(rows[:1], "x86-4bit")[4:] == ["-"] * (len(qat.HEAD) - 4)


def test_settings_and_options() -> None:
    assert qat.read_settings("x86-server,x86-4bit") == ["x86-server", "x86-4bit"]
    with pytest.raises(UserError, match="unknown settings nonsense; allowed are x86-server"):
        qat.read_settings("nonsense")
    assert result_file.read_options(["alpha=0.5", "precision=bfloat16"], 64) == {
        "images": 64,
        "alpha": 0.5,
        "precision": "bfloat16",
    }


def test_a_missing_file_is_named(tmp_path, capsys) -> None:
    given = ["--weights", "w", "--train", "t", "--test", "e", "--work", str(tmp_path / "work")]
    assert qat.main(given) == 2
    assert "is no file; give --set weights=FILE" in capsys.readouterr().err
