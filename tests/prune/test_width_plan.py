"""From a table to widths: what may be chosen, what is asked for, and what the cut then has."""

import prune_nets as nets
import pytest
import torch

from edgekit.errors import BudgetError, ConversionError, NotApplicable
from edgekit.prune.criteria import Evidence
from edgekit.prune.latency.chains import surroundings
from edgekit.prune.latency.width_plan import (
    ROOM,
    Planner,
    predict,
    seconds_for,
    values_of,
    widths_to_measure,
)
from edgekit.prune.shrink import Request, cuttable, shrink
from edgekit.records import Budget, WidthRow, WidthTable

EXAMPLES = (torch.randn(1, 1, 8, 8),)


def table(base_s: float = 1.0, **more: float) -> WidthTable:
    """In the padded residual net each width takes its share, rounded up to sixteen; the layers take half of the time."""
    graph, _ = cuttable(nets.made(nets.Residual, padded=True), EXAMPLES, Request(multiple=8))
    found = surroundings(graph.module, EXAMPLES, graph.groups)
    rows = []
    for micro in found.each.values():
        widths = widths_to_measure(micro, next(iter(graph.groups.values())), 8)
        widths = sorted({*(w for w in widths if w <= micro.width), micro.width})
        seconds = tuple(0.125 * base_s * -(-w // 16) * 16 / micro.width for w in widths)
        rows.append(WidthRow(micro=micro.text, widths=tuple(widths), cpu_s=seconds))
    return WidthTable(conditions={}, rows=tuple(rows), base_s=base_s, float_s=base_s, **more)


def cut(planner: Planner) -> dict[str, tuple[int, int]]:
    module = nets.made(nets.Residual, padded=True)
    return shrink(module, EXAMPLES, Request(multiple=8), Evidence(), choose=planner).widths


def test_only_widths_that_save_time_are_chosen() -> None:
    """Sixteen channels take what eight do: the two groups of 16 stay whole, those of 32 go to 16."""
    planner = Planner(table(), 0.9, 8)
    widths = cut(planner)
    assert sorted(after for _, after in widths.values()) == [16, 16, 16, 16] or sorted(
        after for _, after in widths.values()
    ) == [16, 16, 16, 32]
    assert all(after == before for before, after in widths.values() if before == 16)
    assert planner.figures["predicted time"][0] <= 0.9
    assert planner.figures["floor"][0] == pytest.approx(0.875)


def test_a_correction_asks_for_less() -> None:
    """What came out a tenth slower than predicted is cut to a tenth less, and the time predicted says so."""
    planner = Planner(table(correction=1.0), 0.94, 8)
    cut(planner)
    assert planner.figures["predicted time"][0] == pytest.approx(0.9375)
    corrected = Planner(table(correction=1.05), 0.94, 8)
    cut(corrected)
    assert corrected.figures["predicted time"][0] == pytest.approx(1.05 * 0.875)


def test_below_the_floor_nothing_is_cut() -> None:
    with pytest.raises(BudgetError, match="below the floor"):
        cut(Planner(table(), 0.5, 8))


def test_a_table_of_another_network_is_refused() -> None:
    other = WidthTable(conditions={}, rows=(), base_s=1.0, float_s=1.0)
    with pytest.raises(ConversionError, match="it is of another network"):
        cut(Planner(other, 0.9, 8))


def test_a_width_is_worth_less_the_more_of_its_own_importance_goes() -> None:
    graph, _ = cuttable(nets.made(nets.Residual, padded=True), EXAMPLES, Request(multiple=8))
    group = graph.groups["layer1.0.conv1"]
    values = values_of(group, torch.arange(16.0), 8)
    assert values == {8: pytest.approx(-((sum(range(8)) / sum(range(16))) ** 2)), 16: 0.0}
    assert values_of(group, 7 * torch.arange(16.0), 8) == pytest.approx(values), (
        "whatever its scores are measured in"
    )
    assert values_of(group, torch.zeros(16), 8) == {8: 0.0, 16: 0.0}
    assert list(values_of(group, torch.arange(16.0), 32)) == [16]  # too narrow to be narrowed


@pytest.mark.parametrize(
    ("speedup", "budget", "seconds"),
    [
        (1.5, Budget(), 2.0),
        (0.0, Budget(min_speedup=2.0), 1.5 * ROOM),
        (0.0, Budget(min_speedup=0.0, max_latency_s=0.5), 0.5 * ROOM),
        (0.0, Budget(min_speedup=2.0, max_latency_s=0.5), 0.5 * ROOM),
        (1.5, Budget(min_speedup=5.0, max_latency_s=0.1), 2.0),
    ],
)
def test_the_time_asked_for(speedup: float, budget: Budget, seconds: float) -> None:
    """float_s is 3 and the whole network in the precision of the table takes 2.5."""
    made = WidthTable(conditions={}, rows=(), base_s=2.5, float_s=3.0)
    assert seconds_for(made, speedup, budget) == pytest.approx(seconds)


@pytest.mark.parametrize("budget", [Budget(min_speedup=1.0), Budget(min_speedup=0.0)])
def test_a_network_that_is_fast_enough_is_not_cut(budget: Budget) -> None:
    made = WidthTable(conditions={}, rows=(), base_s=2.5, float_s=2.5)
    with pytest.raises(NotApplicable, match="there is nothing to prune for"):
        seconds_for(made, 0.0, budget)


def test_a_network_without_a_group_that_can_be_measured() -> None:
    with pytest.raises(
        NotApplicable, match=r"no group of channels can be measured by itself \(there is none\)"
    ):
        predict(nets.made(nets.Residual), EXAMPLES, {}, table(), 8)
