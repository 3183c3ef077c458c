"""benchmarks/prune_models.py: a net that can be pruned, one that cannot, the same command again."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import prune_models


@pytest.mark.slow
def test_rows_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "rows.json"
    assert prune_models.main(["--only", "resnet20", "--json", str(place)]) == 0
    (row,) = json.loads(place.read_text())["rows"]
    assert row["same_rebuilt"] and row["exported"] and 0.4 < row["macs"] / row["macs_before"] < 0.6
    assert "inside its blocks only" in row["doubt"]
    given = ["--only", "resnet20,shufflenet_v2_x1_0", "--json", str(place), "--resume"]
    assert prune_models.main(given) == 0
    table = capsys.readouterr().out
    assert "shufflenet_v2_x1_0" in table and "ShuffleNetV2" in table
    kept, failed = json.loads(place.read_text())["rows"]
    assert kept == row and failed["error"] and "\n" not in failed["error"]


def test_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert prune_models.main(["--only", "resnet21"]) == 2
    assert "unknown models resnet21; allowed are resnet18" in capsys.readouterr().err
