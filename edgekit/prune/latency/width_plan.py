"""From a table of widths to the widths of a network: what is foretold, what is allowed, what is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from edgekit.errors import NotApplicable
from edgekit.prune import widths as allowed
from edgekit.prune.cut import least
from edgekit.prune.graph import Graph, Group
from edgekit.prune.latency.chains import surroundings
from edgekit.prune.latency.curve import Curve, to_measure
from edgekit.prune.latency.forecast import Forecast
from edgekit.prune.latency.micro import Border, Micro
from edgekit.prune.latency.width_choice import choose, fastest
from edgekit.prune.widths import Scores
from edgekit.records import Budget, WidthRow, WidthTable

MOST_BORDER = 0.8  # of the time of a micro-model
TINY = 1e-30
# The gate measures anew, beside another float file, and the whole of its interval must keep a limit of the budget.
ROOM = 0.95


@dataclass
class Planner:
    """Chooses the widths that are worth the most within `budget_s`, of those that were measured. What it foretold is in
    `figures`.

    multiple: of widths that a plan may have. budget_s: of one run, as measured; the table's correction is applied here.
    """

    table: WidthTable
    budget_s: float
    multiple: int
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)

    def __call__(self, graph: Graph, groups: Mapping[str, Group], scores: Scores) -> dict[str, int]:
        """Widths to keep, by root. Raises BudgetError, ConversionError where the table is of another network."""
        forecast = foretell(graph.module, graph.examples, groups, self.table, self.multiple)
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


def foretell(
    module: nn.Module,
    examples: tuple[torch.Tensor, ...],
    groups: Mapping[str, Group],
    table: WidthTable,
    multiple: int,
) -> Forecast:
    """Seconds by widths. Raises ConversionError where no group can be measured, or the table lacks one."""
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
    """Of the layers alone, without the conversions at their border."""
    inside = [
        max(seconds - border_s * micro.border_elements(width), (1 - MOST_BORDER) * seconds)
        for width, seconds in zip(row.widths, row.cpu_s, strict=True)
    ]
    return Curve(row.widths, inside, micro.width, multiple)


def values_of(group: Group, scores: torch.Tensor, multiple: int) -> dict[int, float]:
    """What each width that is allowed, multiples and the whole, is worth: the share of the group's importance that goes, squared, below 0.

    Scores of unlike groups do not compare, so each counts as a share of its own; squared, since the first channels to go cost little and
    the last ones everything.
    """
    step, total = allowed.unit(group, multiple), max(float(scores.sum()), TINY)
    widths = [group.width] if group.width < multiple else [*range(step, group.width, step), group.width]
    return {width: -((float(scores[least(group, width, scores)].sum()) / total) ** 2) for width in widths}


def widths_to_measure(micro: Micro, group: Group, multiple: int) -> list[int]:
    """One alone for a group that is too narrow to be narrowed."""
    if group.width < multiple:
        return [group.width]
    return to_measure(micro.width, allowed.unit(group, multiple), group.blocks)


def seconds_for(table: WidthTable, speedup: float, budget: Budget) -> float:
    """What one run may take: `speedup` over the float file; or ROOM of what the budget asks for.

    Raises ConversionError where the network is as fast as that already.
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
