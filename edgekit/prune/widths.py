"""How many channels each group keeps: the share to remove, by scope, in multiples that a target's kernels like.

- uniform: the same share of each group.
- global: all channels ranked together; a group keeps those above the common threshold.
- isomorphic: ranked together where groups are built alike (Fang et al. 2024, arXiv:2407.04616), since scores of unlike groups
  do not compare.

Widths go to the nearest multiple, at least one: kernels work on lanes of 8 or 16, and 49 channels cost what 56 do.
Rounding down, as libraries do, takes more than was asked and leaves narrow layers as they were.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch

from edgekit.errors import UserError
from edgekit.prune.graph import Group

Scope = Literal["uniform", "global", "isomorphic"]
Scores = Mapping[str, torch.Tensor]
SCOPES: tuple[str, ...] = get_args(Scope)
MOST = 0.95  # of the channels may go
STEPS = 20  # of the bisection: to a millionth


def unit(group: Group, multiple: int) -> int:
    """What the width of the group must be a multiple of; a group narrower than the multiple keeps its blocks alone."""
    both = math.lcm(multiple, group.blocks)
    return both if both <= group.width else group.blocks


def nearest(group: Group, wanted: float, multiple: int) -> int:
    """The allowed width nearest to `wanted`, upwards where two are as near; the whole width is always allowed."""
    if group.width < multiple:
        return group.width
    step = unit(group, multiple)
    allowed = [*range(step, group.width, step), group.width]
    return min(allowed, key=lambda width: (abs(width - wanted), -width))


def at_ratio(
    groups: Mapping[str, Group], scores: Scores, ratio: float, scope: str, multiple: int
) -> dict[str, int]:
    """Channels to keep by root, where `ratio` of the channels of each scope go."""
    if scope == "uniform":
        return {root: nearest(g, g.width * (1 - ratio), multiple) for root, g in groups.items()}
    widths = {}
    for roots in _scopes(groups, scope):
        threshold = torch.cat([scores[root] for root in roots]).quantile(ratio)
        for root in roots:
            kept = max(int((scores[root] > threshold).sum()), (1 - MOST) * groups[root].width)
            widths[root] = nearest(groups[root], kept, multiple)
    return widths


def _scopes(groups: Mapping[str, Group], scope: str) -> list[list[str]]:
    """Roots that are ranked together."""
    if scope == "global":
        return [list(groups)]
    if scope != "isomorphic":
        raise UserError(f"unknown scope {scope!r}; allowed are {', '.join(SCOPES)}")
    alike = defaultdict(list)
    for root, group in groups.items():
        alike[
            tuple((type(item.dep.target.module).__name__, str(item.dep.handler)) for item in group.full)
        ].append(root)
    return list(alike.values())


def for_macs(
    groups: Mapping[str, Group],
    scores: Scores,
    wanted: float,
    forecast: Callable[[Mapping[str, int]], float],
    scope: str,
    multiple: int,
) -> dict[str, int]:
    """The widths whose MACs come nearest to `wanted`: bisection of the ratio, and between its last two plans one group after
    the other, since in multiples of 8 many narrow together."""
    low, high = 0.0, MOST
    for _ in range(STEPS):
        ratio = (low + high) / 2
        macs = forecast(at_ratio(groups, scores, ratio, scope, multiple))
        low, high = (ratio, high) if macs > wanted else (low, ratio)
    wide, narrow = (at_ratio(groups, scores, ratio, scope, multiple) for ratio in (low, high))
    plans = [wide]
    for root in sorted(groups, key=lambda root: _price(root, wide, narrow, scores, forecast)):
        plans.append({**plans[-1], root: narrow[root]})
    return min(plans, key=lambda plan: abs(forecast(plan) - wanted))


def _price(
    root: str,
    wide: Mapping[str, int],
    narrow: Mapping[str, int],
    scores: Scores,
    forecast: Callable[[Mapping[str, int]], float],
) -> float:
    """Importance lost for each MAC saved where one group goes from wide to narrow; shares of the group's whole importance."""
    saved = forecast(wide) - forecast({**wide, root: narrow[root]})
    order = scores[root].sort(descending=True).values
    lost = order[narrow[root] : wide[root]].sum() / order.sum().abs().clamp_min(1e-12)
    return float(lost / saved) if saved > 0 else math.inf
