"""The parts of benchmarks/sparsity.py and benchmarks/lottery.py that need no data, and one small search."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import lottery
import sparsity

from edgekit.errors import UserError
from edgekit.techniques import sparsify


def test_every_mask_is_one_that_sparsify_takes() -> None:
    for options in sparsity.MASKS.values():
        assert sparsify.Options(**options)


def test_a_ratio_that_nobody_measured_is_none() -> None:
    row = sparsity.Row(
        mask="50",
        precision="int8",
        zeros=0.5,
        metric=0.75,
        float_metric=0.8,
        agreement=None,
        samples=400,
        size_bytes=4_840_000,
        compressed_bytes={"gzip": 2_900_000, "zstd": 2_790_000},
        cpu_ratio=None,
        measured_on="",
        figures={},
    )
    cells = sparsity.cells(row)
    assert len(cells) == len(sparsity.HEAD)
    assert cells[2:] == ["50 %", "75.00", "-", "4.84", "2.90", "2.79", "not measured"]


def test_unknown_names_are_told(tmp_path, capsys) -> None:
    given = ["--photos", "p", "--work", str(tmp_path), "--only", "51"]
    assert sparsity.main(given) == 2
    assert "unknown masks 51; allowed are dense, 50" in capsys.readouterr().err


@pytest.mark.slow
def test_one_small_search_and_its_table(tmp_path: Path) -> None:
    settings = lottery.Settings(net="digits", images=64, early=32, learning_rate=3e-3, sparsity=0.5, each=0.4)
    task = lottery.task_of("", "")
    rows = lottery.measured(task, settings, 1, tmp_path)
    assert [row.variant for row in rows] == ["dense", *lottery.VARIANTS]
    assert all(row.sparsity == pytest.approx(0.5, abs=1e-3) for row in rows[1:])
    table = lottery.table(rows)
    assert [line[0] for line in table].count("weights back") == 2 and len(table[0]) == len(lottery.HEAD)
    assert [line[0] for line in table].count("rate back, random") == 1
    assert lottery.measured(task, settings, 1, tmp_path) == rows, "what is done is not done again"
    other = lottery.Settings(
        **{**{n: getattr(settings, n) for n in settings.__struct_fields__}, "images": 96}
    )
    with pytest.raises(UserError, match="was made with images=64"):
        lottery.measured(task, other, 1, tmp_path)


def test_the_perceptron_answers_ten_classes() -> None:
    assert lottery.perceptron()(torch.zeros(2, 64)).shape == (2, 10)
