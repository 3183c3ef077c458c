"""Percentiles that are only given when the sample can carry them, and an interval that assumes nothing.

The interval of the median comes from order statistics: how many of n independent values fall below the
true median is binomial(n, 1/2), whatever their distribution, so the l-th smallest and the l-th largest
enclose it with probability 1 - 2 P(binomial <= l - 1); for another quantile q it is binomial(n, q). Runs of
one process follow each other and are not quite independent: intervals of tail percentiles are a little
narrow for that reason.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

PERCENTILES = (90, 95, 99)
TAIL_COUNT = 10
_EXACT_COUNT = 2000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % interval of a median in the unit of the sample.

    Attributes:
        low: Its low end; None when n is too small.
        high: Its high end; None when n is too small.
        reason: Why there is none.
    """

    low: float | None
    high: float | None
    reason: str | None


def median(values: Iterable[float]) -> float:
    """The middle of a non-empty sample. (The standard module would load decimal and OpenSSL with it.)"""
    return quantile(sorted(values), 50)


def quantile(ordered: Sequence[float], q_percent: float) -> float:
    """The q-th percentile of a sorted, non-empty sample, linear between neighbours."""
    position = (len(ordered) - 1) * q_percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def percentile_allowed(count: int, q_percent: int) -> bool:
    """True if at least 10 values lie beyond it: n(1-q) >= 10, in whole numbers so that p90 of 100 passes."""
    return count * (100 - q_percent) >= TAIL_COUNT * 100


def median_rank(count: int) -> int:
    """The rank of the interval of a median.

    Returns:
        The largest l, counted from 1, whose l-th smallest and l-th largest of `count` values enclose the median with at
        least 95 %; 0 when no pair does (count < 6).
    """
    if count > _EXACT_COUNT:
        return math.floor((count - 1.96 * math.sqrt(count)) / 2)
    limit = 2**count  # times 0.025 on both sides: 40 * tail <= 2^n
    tail = rank = 0
    for below in range(count // 2 + 1):
        tail += math.comb(count, below)
        if 40 * tail > limit:
            break
        rank = below + 1
    return rank


def median_interval(values: Sequence[float]) -> Interval:
    """The distribution-free 95 % interval of the median."""
    rank = median_rank(len(values))
    if rank == 0:
        return Interval(low=None, high=None, reason=f"n={len(values)} < 6: no 95 % interval exists.")
    ordered = sorted(values)
    return Interval(low=ordered[rank - 1], high=ordered[-rank], reason=None)


def quantile_ranks(count: int, q_percent: int) -> tuple[int, int]:
    """Ranks, counted from 1, whose values enclose the q-th percentile with at least 95 %.

    Returns:
        The largest low with P(binomial(n, q) < low) <= 2.5 % and the least high with P(binomial(n, q) >= high) <= 2.5 %,
        clipped to 1..n, which `percentile_allowed` keeps it from. Beyond 2000 values the normal approximation.
    """
    q = q_percent / 100
    if count > _EXACT_COUNT:
        half = 1.96 * math.sqrt(count * q * (1 - q))
        return max(1, math.floor(count * q - half)), min(count, math.ceil(count * q + half) + 1)
    cumulated, low, high = 0.0, 1, count
    for below in range(count + 1):
        if cumulated <= 0.025:
            low = max(1, below)
        cumulated += _binomial(count, below, q)
        if cumulated >= 0.975:
            high = min(count, below + 1)
            break
    return low, high


def _binomial(count: int, hits: int, q: float) -> float:
    ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return math.exp(ways + hits * math.log(q) + (count - hits) * math.log(1 - q))


def summary_s(samples_s: Sequence[float]) -> dict[str, Any]:
    """Mean, deviation, extremes, median with interval, and the percentiles that n allows, in seconds."""
    ordered = sorted(samples_s)
    interval = median_interval(ordered)
    mean = math.fsum(ordered) / len(ordered)
    variance = math.fsum((x - mean) ** 2 for x in ordered) / len(ordered)
    out: dict[str, Any] = {
        "mean_s": mean, "std_s": math.sqrt(variance), "min_s": ordered[0], "max_s": ordered[-1],
        "p50_s": median(ordered), "p50_ci95_low_s": interval.low, "p50_ci95_high_s": interval.high,
        "p50_ci95_reason": interval.reason,
    }  # fmt: skip
    for q in PERCENTILES:
        allowed = percentile_allowed(len(ordered), q)
        out[f"p{q}_s"] = quantile(ordered, q) if allowed else None
        low, high = quantile_ranks(len(ordered), q)
        out[f"p{q}_ci95_low_s"] = ordered[low - 1] if allowed else None
        out[f"p{q}_ci95_high_s"] = ordered[high - 1] if allowed else None
        least = TAIL_COUNT * 100 // (100 - q)
        out[f"p{q}_reason"] = None if allowed else f"n={len(ordered)} < {least}: under 10 values beyond."
    return out
