"""Agreement of integers with float, recipe beside recipe: the sums of the table, and one small net."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import agreement
from agreement import Row

SMALL = f"{Path(__file__).parents[1] / 'task_files' / 'small.py'}:task"


def row(net: str, recipe: str, agreed: int, snr_db: float) -> Row:
    return Row(net=net, recipe=recipe, agreed=agreed, samples=200, snr_db=snr_db, seconds=agreed / 10)


def test_recipes_are_set_beside_the_first_by_medians() -> None:
    rows = [
        *(row(net, "ptq", 190, 20.0) for net in "abc"),
        row("a", "gptq", 192, 23.0),
        row("b", "gptq", 196, 21.0),
        row("c", "gptq", 180, 22.0),
    ]
    (line,) = agreement.against_the_first(rows, ["ptq", "gptq"])
    assert line == "gptq beside ptq: +1.00 points, +2.0 dB, +0.2 s (medians, 3 nets)"
    assert agreement.cells(rows[0])[2] == "95.00 [91.0, 97.3] % (n=200)"


@pytest.mark.long
def test_a_small_net(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = tmp_path / "rows.json"
    assert agreement.main([SMALL, "--score", "20", "--recipe", "ptq", "--json", str(place)]) == 0
    assert place.is_file() and "(n=16)" in capsys.readouterr().out
