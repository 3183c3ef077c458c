"""The calibration benchmark on the embedded default: both rows run, and the figures are of fresh processes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import calibration
from peers._records import StageRun


def run(wall_s: float, memory: int | None = 40_000_000) -> StageRun:
    return StageRun(
        stage="ranges", wall_s=wall_s, cpu_s=2 * wall_s, rss_before_bytes=1, extra_peak_bytes=memory
    )


def test_ratios_are_medians_of_pairs() -> None:
    runs = {
        "edgekit": [run(1.0), run(3.0), run(1.0, 10_000_000)],
        "ort-minmax": [run(2.0), run(2.0), run(4.0)],
    }
    assert calibration.ratios(runs) == {"wall": 0.5, "CPU": 0.5, "extra memory": 1.0}
    runs["edgekit"] = [run(1.0, None)] * 3
    assert "extra memory" not in calibration.ratios(runs), "a peak that cannot be read is left out"


def test_cells_hold_median_and_range() -> None:
    assert calibration.cells("edgekit", [run(1.0), run(2.0), run(4.0)]) == [
        "edgekit", "2.00 [1.00, 4.00]", "4.00 [2.00, 8.00]", "40.00 [40.00, 40.00]", "3",
    ]  # fmt: skip


@pytest.mark.slow
def test_both_rows_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert calibration.main(["--model", "digits", "--calibrate", "20", "--repeat", "1"]) == 0
    table = capsys.readouterr().out
    assert "edgekit" in table and "ort-minmax" in table and "of ONNX Runtime's MinMax" in table


def test_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert calibration.main(["--model", "alexnet"]) == 2
    assert "unknown model 'alexnet'" in capsys.readouterr().err
