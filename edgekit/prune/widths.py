"""How many channels each group keeps, by scope and in multiples that suit the target's kernels.

- uniform: the same share of each group.
- global: all channels are ranked together; a group keeps those above the common threshold.
- isomorphic: groups of the same structure are ranked together (Fang et al. 2024, arXiv:2407.04616), since
  scores of groups with different structures are not comparable.

Widths are rounded to the nearest multiple, at least one: kernels work on lanes of 8 or 16, so 49 channels
cost as much as 56. Rounding down, as libraries do, removes more than was asked and leaves narrow layers as
they were.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch

from edgekit.errors import UserError
from edgekit.prune.groups import Group

Scope = Literal["uniform", "global", "isomorphic"]
Scores = Mapping[str, torch.Tensor]
SCOPES: tuple[str, ...] = get_args(Scope)
MOST = 0.95  # the largest share of channels that may be removed
STEPS = 20  # of the bisection, which is then exact to a millionth


def unit(group: Group, multiple: int) -> int:
    """Returns the number that the width of a group must be a multiple of.

    A group that is narrower than the multiple only has to keep its blocks equal. Where a reader sees each run of channels as one,
    the multiple is of these.
    """
    both = math.lcm(multiple, group.blocks) * group.run
    return both if both <= group.width else group.blocks * group.run


def nearest(group: Group, wanted: float, multiple: int) -> int:
    """Returns the allowed width nearest to `wanted`; the larger of two that are equally near.

    The whole width is always allowed.
    """
    if group.width < multiple * group.run:
        return group.width
    step = unit(group, multiple)
    allowed = [*range(step, group.width, step), group.width]
    return min(allowed, key=lambda width: (abs(width - wanted), -width))


def at_ratio(
    groups: Mapping[str, Group], scores: Scores, ratio: float, scope: str, multiple: int
) -> dict[str, int]:
    """Chooses widths for a share of channels to remove.

    Args:
        groups: The groups, by root.
        scores: The importance of each channel, by root.
        ratio: The share of the channels of each scope that is removed.
        scope: "uniform", "global" or "isomorphic".
        multiple: The number that widths are a multiple of.

    Returns:
        The channels to keep, by root.
    """
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
    """Groups of roots that are ranked together."""
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
    """Chooses the widths whose MACs come nearest to `wanted`.

    The ratio is found by bisection. Between the last two plans one group is narrowed after the other, since
    in multiples of 8 many groups become narrower at the same ratio.

    Args:
        groups: The groups, by root.
        scores: The importance of each channel, by root.
        wanted: Multiply-accumulates to be left.
        forecast: Predicts the MACs for given widths.
        scope: "uniform", "global" or "isomorphic".
        multiple: The number that widths are a multiple of.

    Returns:
        The channels to keep, by root.
    """
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
    """The importance lost for each MAC saved by narrowing one group, as a share of the group's total."""
    saved = forecast(wide) - forecast({**wide, root: narrow[root]})
    order = scores[root].sort(descending=True).values
    lost = order[narrow[root] : wide[root]].sum() / order.sum().abs().clamp_min(1e-12)
    return float(lost / saved) if saved > 0 else math.inf
