"""The plans of latency_pruning.py: what is asked of the network, at every size and in every family."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from edgekit.prune.graph import Graph
from edgekit.prune.groups import Group
from edgekit.prune.latency.chains import surroundings
from edgekit.prune.latency.curve import Curve
from edgekit.prune.latency.forecast import Forecast
from edgekit.prune.latency.width_choice import choose
from edgekit.prune.latency.width_plan import Planner, values_of
from edgekit.prune.shrink import Choose, Request
from edgekit.prune.widths import Scores
from edgekit.quant.graph_macs import counted
from edgekit.records import Precision, WidthTable

BY_MACS = "MACs knapsack"
FAMILIES = ("uniform", "global", BY_MACS)


class Plan(NamedTuple):
    """chosen: what decides the widths, where it is not the request's scope."""

    name: str
    family: str
    request: Request
    chosen: Choose | None


def plans(
    sizes: Sequence[float], multiples: Sequence[int], tables: Mapping[Precision, WidthTable]
) -> Iterator[Plan]:
    """sizes: shares of the multiply-accumulates, or of the time by each table, whose plans take the first multiple."""
    for size in sizes:
        for multiple in multiples:
            kind = f"multiples of {multiple}" if multiple > 1 else "any width"
            for family in FAMILIES:
                scope = "uniform" if family == BY_MACS else family
                request = Request(macs=size, scope=scope, multiple=multiple)
                chosen = by_macs(size, multiple) if family == BY_MACS else None
                yield Plan(f"{family}, {kind} {size:g}", f"{family}, {kind}", request, chosen)
        for precision, table in tables.items():
            planner = Planner(table, size * table.base_s, multiples[0])
            family, request = f"latency {precision}", Request(multiple=multiples[0])
            yield Plan(f"{family} {size:g}", family, request, planner)


def by_macs(share: float, multiple: int) -> Choose:
    """The knapsack of `edgekit.prune.latency` with multiply-accumulates in place of seconds."""

    def chosen(graph: Graph, groups: Mapping[str, Group], scores: Scores) -> dict[str, int]:
        found = surroundings(graph.module, graph.examples, groups)
        curves = {
            text: Curve([1, micro.width], [sum(micro.macs) / micro.width, sum(micro.macs)], micro.width, 1)
            for text, micro in found.each.items()
        }
        base = sum(_macs(graph).values())
        forecast = Forecast(found.micros, curves, base)
        values = {root: values_of(groups[root], scores[root], multiple) for root in found.micros}
        return {root: g.width for root, g in groups.items()} | choose(values, forecast, share * base)

    return chosen


def _macs(graph: Graph) -> dict[str, int]:
    program = torch.export.export(graph.module, graph.examples)
    return {node.name: macs for node, _, macs in counted(program)}
