"""The parts of benchmarks/distill.py that need no data."""

import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import distill
import result_file

from edgekit.errors import UserError
from edgekit.techniques.distill import Options


def row(family: str, after: float, seed: int) -> distill.Row:
    return distill.Row(
        data="all",
        student="fresh",
        family=family,
        seed=seed,
        before=0.1,
        after=after,
        images=640,
        learning_rate=1e-3,
        train_s=10.0,
        shares={"task": 0.25, "teacher": 0.75},
    )


def test_a_gain_is_over_plain_training_with_the_same_seed() -> None:
    rows = [row("plain", 0.5, 0), row("kl", 0.52, 0), row("plain", 0.6, 1), row("kl", 0.59, 1)]
    cells = distill.cells(rows, "all", "fresh", "kl")
    assert len(cells) == len(distill.HEAD)
    assert cells[:7] == [
        "all", "fresh", "kl", "10.00 [10.00, 10.00]", "55.50 [52.00, 59.00]", "0.50 [-1.00, 2.00]", "2",
    ]  # fmt: skip
    assert cells[-1] == "task 25 %, teacher 75 %"
    assert distill.cells(rows, "all", "fresh", "plain")[5] == "-"


def test_every_family_is_made_of_options_there_are() -> None:
    for options in distill.FAMILIES.values():
        msgspec.convert(options, Options)


def test_names_that_are_none(tmp_path, capsys) -> None:
    with pytest.raises(UserError, match="unknown families kd; allowed are plain, kl"):
        result_file.names("families", "plain,kd", tuple(distill.FAMILIES))
    given = [
        "--teacher",
        "w",
        "--given",
        "w",
        "--train",
        "t",
        "--test",
        "e",
        "--work",
        str(tmp_path / "work"),
    ]
    assert distill.main(given) == 2
    assert "is no file; give --set weights=FILE" in capsys.readouterr().err
