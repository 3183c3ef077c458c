"""From a table of widths to the widths of a network: what is predicted, what is allowed, what is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from edgekit.errors import NotApplicable
from edgekit.prune import widths as allowed
from edgekit.prune.cut import least
from edgekit.prune.graph import Graph
from edgekit.prune.groups import Group
from edgekit.prune.latency.chains import surroundings
from edgekit.prune.latency.curve import Curve, to_measure
from edgekit.prune.latency.forecast import Forecast
from edgekit.prune.latency.micro import Border, Micro
from edgekit.prune.latency.width_choice import choose, fastest
from edgekit.prune.widths import Scores
from edgekit.records import Budget, WidthRow, WidthTable

MOST_BORDER = 0.8  # the largest share of a micro-model's time that counts as border
TINY = 1e-30
# The gate measures again, against another float file, and its whole interval must stay within the budget.
ROOM = 0.95


@dataclass
class Planner:
    """Chooses the widths that are worth most within a time, from those that were measured.

    Attributes:
        table: What widths cost on the target.
        budget_s: The time of one run, as measured; the table's correction is applied here.
        multiple: The number that widths of a plan are a multiple of.
        figures: What was predicted, once a plan was made.
    """

    table: WidthTable
    budget_s: float
    multiple: int
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)

    def __call__(self, graph: Graph, groups: Mapping[str, Group], scores: Scores) -> dict[str, int]:
        """Returns the widths to keep, by root.

        Raises:
            BudgetError: Not even the fastest widths fit.
            NotApplicable: No group can be measured on its own.
            ConversionError: The table is of another network.
        """
        forecast = predict(graph.module, graph.examples, groups, self.table, self.multiple)
        roots = dict.fromkeys(root for work in forecast.works for root, _ in work.curves)
        values = {root: values_of(groups[root], scores[root], self.multiple) for root in roots}
        for root, curve in [pair for work in forecast.works for pair in work.curves]:
            values[root] = {width: value for width, value in values[root].items() if width in curve.widths}
        chosen = choose(values, forecast, self.budget_s / self.table.correction)
        floor_s = forecast(fastest(values, forecast))
        self.figures = {
            "predicted time": (self.table.correction * forecast(chosen) / forecast.base_s, "ratio"),
            "time asked for": (self.budget_s / forecast.base_s, "ratio"),
            "floor": (floor_s / forecast.base_s, "ratio"),
            "correction": (self.table.correction, "ratio"),
            "entries measured": (self.table.entries, "count"),
            "seconds of the table": (self.table.wall_s, "s"),
        }
        return {root: chosen.get(root, group.width) for root, group in groups.items()}


def predict(
    module: nn.Module,
    examples: tuple[torch.Tensor, ...],
    groups: Mapping[str, Group],
    table: WidthTable,
    multiple: int,
) -> Forecast:
    """Predicts the seconds of a network by the widths of its groups.

    Args:
        module: The network.
        examples: Inputs to export it with.
        groups: The groups of channels, by root.
        table: What widths cost on the target.
        multiple: The number that widths of a plan are a multiple of.

    Raises:
        NotApplicable: No group can be measured on its own.
        ConversionError: The table lacks a group.
    """
    found = surroundings(module, examples, groups)
    if not found.micros:
        strange = "; ".join(f"{root}: {layer}" for root, layer in found.strange.items())
        raise NotApplicable(f"no group of channels can be measured by itself ({strange or 'there is none'})")
    rows = {row.micro: row for row in table.rows}
    border_s = Border.s_per_element(rows[Border.text].cpu_s) if Border.text in rows else 0.0
    curves = {
        text: _curve(rows[text], micro, border_s, multiple)
        for text, micro in found.each.items()
        if text in rows
    }
    return Forecast(found.micros, curves, table.base_s)


def _curve(row: WidthRow, micro: Micro, border_s: float, multiple: int) -> Curve:
    """The curve of the layers alone, without the conversions at their borders."""
    inside = [
        max(seconds - border_s * micro.border_elements(width), (1 - MOST_BORDER) * seconds)
        for width, seconds in zip(row.widths, row.cpu_s, strict=True)
    ]
    return Curve(row.widths, inside, micro.width, multiple)


def values_of(group: Group, scores: torch.Tensor, multiple: int) -> dict[int, float]:
    """Returns what each allowed width is worth: minus the square of the share of importance that is lost.

    The multiples and the whole width are allowed. Scores of groups with different structures are not
    comparable, so each counts as a share of its own group. The share is squared because the first channels to
    go cost little and the last ones everything.
    """
    step, total = allowed.unit(group, multiple), max(float(scores.sum()), TINY)
    widths = (
        [group.width]
        if group.width < multiple * group.run
        else [*range(step, group.width, step), group.width]
    )
    return {width: -((float(scores[least(group, width, scores)].sum()) / total) ** 2) for width in widths}


def widths_to_measure(micro: Micro, group: Group, multiple: int) -> list[int]:
    """Returns the widths to measure; the whole width alone for a group that is too narrow to be narrowed."""
    if group.width < multiple * group.run:
        return [group.width]
    return to_measure(micro.width, allowed.unit(group, multiple), group.blocks * group.run)


def seconds_for(table: WidthTable, speedup: float, budget: Budget) -> float:
    """Returns the time that one run may take.

    Args:
        table: What widths cost on the target.
        speedup: Float time / time of the pruned network; 0 takes the limits of the budget, with some ROOM.
        budget: The budget of the run.

    Raises:
        NotApplicable: The network is as fast as that already.
    """
    limits = [table.float_s / (speedup or budget.min_speedup)] if speedup or budget.min_speedup else []
    if not speedup and budget.max_latency_s is not None:
        limits.append(budget.max_latency_s)
    if not limits or min(limits) >= table.base_s:
        asked = f"{min(limits) * 1e3:.4g} ms" if limits else "nothing"
        raise NotApplicable(
            f"{asked} is asked for, and the whole network takes {table.base_s * 1e3:.4g} ms: there is nothing to prune for. Give "
            "speedup, or a budget with min_speedup or max_latency_s"
        )
    return min(limits) if speedup else ROOM * min(limits)
