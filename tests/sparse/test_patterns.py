"""Patterns and schedules against arithmetic by hand."""

import pytest
import torch

from edgekit.errors import UserError
from edgekit.sparse import patterns
from edgekit.sparse.patterns import limit, read, select
from edgekit.sparse.sparsity_schedule import RENEWALS, Ramp, cubic


def test_the_smallest_of_all_go() -> None:
    scores = [torch.tensor([[1.0, 5.0], [2.0, 6.0]]), torch.tensor([[3.0, 4.0]])]
    kept = select(scores, read("unstructured"), 0.5, "global")
    assert kept[0].tolist() == [[False, True], [False, True]] and kept[1].tolist() == [[False, True]]
    kept = select(scores, read("unstructured"), 0.5, "layer")
    assert kept[0].tolist() == [[False, True], [False, True]] and kept[1].tolist() == [[False, True]]


def test_no_layer_loses_its_last_weight() -> None:
    kept = select([torch.full((2, 2), 9.0), torch.ones(1, 2)], read("unstructured"), 0.9, "global")
    assert [int(k.sum()) for k in kept] == [1, 1]


def test_ties_go_by_place_and_the_count_is_exact() -> None:
    (kept,) = select([torch.zeros(3, 5)], read("unstructured"), 0.4, "layer")
    assert int((~kept).sum()) == 6 and not kept.flatten()[1:6].any()


@pytest.mark.parametrize("shape", [(3, 8), (4, 8, 3, 3)])
def test_of_each_four_two_stay(shape: tuple[int, ...]) -> None:
    score = torch.rand(shape)
    (kept,) = select([score], read("2:4"), 0.5, "global")
    groups = score.movedim(1, -1).reshape(-1, 4)
    mask = kept.movedim(1, -1).reshape(-1, 4)
    assert (mask.sum(1) == 2).all()
    assert torch.equal(
        groups[mask].view(-1, 2).amin(1) >= groups[~mask].view(-1, 2).amax(1),
        torch.ones(len(groups), dtype=torch.bool),
    )
    (some,) = select([score], read("2:4"), 0.25, "global")
    assert (some.movedim(1, -1).reshape(-1, 4).sum(1) == 3).all(), "on the way to it"


def test_blocks_are_rows_by_columns() -> None:
    score = torch.tensor([[1.0, 9, 1, 1], [1, 9, 1, 1], [5, 5, 0, 0], [5, 5, 0, 0]])
    (kept,) = select([score], read("2x2"), 0.5, "layer")
    assert kept.tolist() == [[True, True, False, False]] * 2 + [[True, True, False, False]] * 2
    (kept,) = select([score], read("4x1"), 0.5, "layer")
    assert kept.tolist() == [[True, True, False, False]] * 4
    assert read("4x1").fits((8, 3, 3, 3)) and not read("4x1").fits((10, 4)) and not read("2:4").fits((8, 3))


def test_the_limit_is_the_most_that_leaves_every_layer() -> None:
    scores = [torch.arange(8.0).view(2, 4), torch.tensor([[2.5, 0.5]])]
    found = limit(scores, read("unstructured"), "global")
    assert (found.layer, found.droppable, found.units) == (1, 4, 10)
    assert found.allows(0.4) and not found.allows(0.5)
    found = limit(scores, read("unstructured"), "layer")
    assert (found.layer, found.droppable, found.units) == (1, 1, 2)


@pytest.mark.parametrize("text", ["", "2:2", "0:4", "1x1", "0x4", "2:4:8", "unstructured "])
def test_other_patterns_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is unknown; allowed are"):
        patterns.read(text)


def test_the_ramp_is_cubic() -> None:
    assert [cubic(t, 0.8) for t in (0, 0.5, 1)] == pytest.approx([0, 0.8 * 0.875, 0.8])
    ramp = Ramp(begin=0.2, end=0.6)
    assert [ramp.renewals(p) for p in (0, 0.2, 0.4, 0.6, 1)] == [0, 0, RENEWALS // 2, RENEWALS, RENEWALS]
    with pytest.raises(UserError, match=r"from 0\.5 to 0\.5; it must rise"):
        Ramp(begin=0.5, end=0.5)
