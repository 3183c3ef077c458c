"""Weights with few distinct values: one-dimensional k-means, and how it is applied to a layer.

Han et al. 2015, "Deep Compression" (arXiv:1510.00149), section 3. For sorted values a cluster is an interval:
its size, mean and squared error are differences of running sums, and one step of Lloyd's algorithm is a
search. Starting from a single mean, the clusters with the largest error are split until there are enough
(Linde, Buzo & Gray 1980). It uses no random numbers.
"""

import torch

STEPS = 30  # of Lloyd's algorithm between two splits
ROUNDS = 100  # of splits; 2^8 means take about 15


def means(values: torch.Tensor, count: int) -> torch.Tensor:
    """Returns at most `count` means of the values [n], in ascending order, as float64."""
    ordered = values.flatten().double().sort().values
    distinct = ordered.unique()
    if len(distinct) <= count:
        return distinct
    sums = torch.stack([ordered, ordered.square()]).cumsum(1)
    sums = torch.cat([sums.new_zeros(2, 1), sums], 1)
    centres = ordered.mean()[None]
    for _ in range(ROUNDS):
        centres, spread, errors = _settled(ordered, sums, centres)
        missing = min(count - len(centres), int((spread > 0).sum()))
        if not missing:
            break
        widest = errors.topk(min(missing, len(centres) // 2 + 1)).indices
        moved = centres.clone()
        moved[widest] -= spread[widest]
        centres = torch.cat([moved, centres[widest] + spread[widest]]).sort().values
    return centres


def _settled(
    ordered: torch.Tensor, sums: torch.Tensor, centres: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(means, standard deviations, squared errors) of the non-empty clusters after some steps."""
    for _ in range(STEPS):
        ends = torch.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        edges = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), len(ordered))]).unique()
        sizes, (first, second) = edges.diff(), sums[:, edges].diff()
        fresh = first / sizes
        if torch.equal(fresh, centres):
            break
        centres = fresh
    variance = (second / sizes - fresh.square()).clamp_min(0)
    variance[ordered[edges[:-1]] == ordered[edges[1:] - 1]] = 0  # one value, whatever the sums round to
    return fresh, variance.sqrt(), variance * sizes


def nearest(values: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Returns the centre nearest to each value, in the type of the values."""
    edges = ((centres[1:] + centres[:-1]) / 2).to(values.dtype)
    return centres.to(values.dtype)[torch.bucketize(values, edges)]


def palettized(weight: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    """Replaces a weight by few distinct values.

    Zeros stay zero, and where there are zeros, zero is one of the values.

    Args:
        weight: [O, ...].
        bits: There are 2^bits values.
        group: Output channels that share a set of values; 0 = all of them.
    """
    rows = weight.split(group) if group else (weight,)
    return torch.cat([_with_zero(part, 2**bits) for part in rows])


def _with_zero(part: torch.Tensor, count: int) -> torch.Tensor:
    alive = part[part != 0]
    if not len(alive):
        return part.clone()
    few = count - 1 if len(alive) < part.numel() else count
    found = torch.zeros_like(part)
    found[part != 0] = nearest(alive, means(alive, few))
    return found
