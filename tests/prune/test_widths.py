"""Widths in multiples, by scope, and the search for a share of multiply-accumulates."""

import pytest
import torch

from edgekit.errors import UserError
from edgekit.prune.groups import Group
from edgekit.prune.widths import at_ratio, for_macs, nearest, unit


def group(root: str, width: int, blocks: int = 1) -> Group:
    return Group(root=root, width=width, blocks=blocks, parts=(), full=())


@pytest.mark.parametrize(
    ("width", "blocks", "wanted", "multiple", "expected"),
    [
        (16, 1, 9.6, 8, 8),  # ratio .4 of 16: rounding down, or not at all, are what libraries do
        (16, 1, 14.4, 8, 16),
        (16, 1, 12, 8, 16),  # as near: the wider
        (32, 1, 19, 8, 16),
        (32, 1, 21, 8, 24),
        (20, 1, 18.5, 8, 20),  # the whole width is allowed though it is no multiple
        (64, 1, 0.1, 8, 8),  # at least one multiple
        (4, 1, 1, 8, 4),  # narrower than one multiple: stays
        (32, 1, 19, 1, 19),
        (48, 12, 30, 8, 24),  # heads and multiples: 24
        (20, 4, 11, 8, 8),  # 8 is a multiple of 4
        (12, 12, 3, 8, 12),
    ],
)
def test_nearest(width: int, blocks: int, wanted: float, multiple: int, expected: int) -> None:
    assert nearest(group("a", width, blocks), wanted, multiple) == expected


def test_the_unit_keeps_blocks_equal() -> None:
    assert unit(group("a", 96, 12), 8) == 24
    assert unit(group("a", 12, 4), 8) == 8
    assert unit(group("a", 12, 6), 8) == 6, "24 is wider than the group"


def test_global_ranks_all_and_isomorphic_only_what_is_alike() -> None:
    groups = {"a": group("a", 16), "b": group("b", 16)}
    scores = {"a": torch.arange(16.0), "b": torch.arange(16.0) + 100}
    assert at_ratio(groups, scores, 0.25, "uniform", 1) == {"a": 12, "b": 12}
    assert at_ratio(groups, scores, 0.25, "global", 1) == {"a": 8, "b": 16}
    assert at_ratio(groups, scores, 0.25, "global", 8) == {"a": 8, "b": 16}
    assert at_ratio(groups, scores, 0.75, "global", 1) == {"a": 1, "b": 8}, "something is left of a"
    assert at_ratio(groups, scores, 0.25, "isomorphic", 1) == {"a": 8, "b": 16}, (
        "built alike: ranked together"
    )
    with pytest.raises(UserError, match="unknown scope 'x'"):
        at_ratio(groups, scores, 0.5, "x", 1)


@pytest.mark.parametrize("wanted", [20, 30, 40, 55])
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_for_macs_comes_near(wanted: float, scope: str) -> None:
    generator = torch.Generator().manual_seed(0)
    groups = {name: group(name, 16) for name in "abcd"}
    scores = {name: torch.rand(16, generator=generator) for name in groups}

    def forecast(widths: dict[str, int]) -> float:
        return float(sum(widths.values()))

    widths = for_macs(groups, scores, wanted, forecast, scope, 1)
    assert forecast(widths) == pytest.approx(wanted, abs=1)
    widths = for_macs(groups, scores, wanted, forecast, scope, 8)
    assert forecast(widths) == pytest.approx(max(32, wanted), abs=4) and all(
        w in (8, 16) for w in widths.values()
    )


def test_between_two_plans_the_least_important_narrow_first() -> None:
    groups = {name: group(name, 16) for name in "ab"}
    scores = {"a": torch.ones(16), "b": torch.tensor([1.0] * 8 + [0.0] * 8)}
    widths = for_macs(groups, scores, 24, lambda w: float(sum(w.values())), "uniform", 8)
    assert widths == {"a": 16, "b": 8}
