"""The ratio of two times that were measured in rounds, in several processes.

Its 95 % interval is a two-level bootstrap: processes are drawn with replacement, then rounds within each (Davison and
Hinkley 1997, section 3.8).
"""

from collections.abc import Sequence
from typing import Any

from edgekit_runner.stats import quantiles

Rounds = Sequence[Sequence[float]]  # (a, b) of each round of one process
_RESAMPLES_COUNT = 2000


def figures(clock: str, rounds: Sequence[Rounds], seed: int) -> dict[str, Any]:
    """Median, deciles and interval of the ratio a/b, and the medians of both.

    Args:
        clock: "cpu" or "wall", which the figures are named after.
        rounds: The rounds of each process, (artifact, baseline) seconds per run.
        seed: Of the bootstrap.
    """
    ratios = sorted(a / b for process in rounds for a, b in process)
    low, high = bootstrap(rounds, seed)
    return {
        f"{clock}_p50_ratio": quantiles.median(ratios),
        f"{clock}_p10_ratio": quantiles.quantile(ratios, 10),
        f"{clock}_p90_ratio": quantiles.quantile(ratios, 90),
        f"{clock}_p50_ci95_low_ratio": low,
        f"{clock}_p50_ci95_high_ratio": high,
        f"artifact_{clock}_p50_s": quantiles.median(a for process in rounds for a, _ in process),
        f"baseline_{clock}_p50_s": quantiles.median(b for process in rounds for _, b in process),
    }


def bootstrap(rounds: Sequence[Rounds], seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the median ratio, over processes and the rounds within them."""
    import numpy as np

    rng = np.random.default_rng(seed)
    ratios = [np.array([a / b for a, b in process]) for process in rounds]
    medians = []
    for _ in range(_RESAMPLES_COUNT):
        drawn = [ratios[i] for i in rng.integers(len(ratios), size=len(ratios))]
        medians.append(np.median(np.concatenate([rng.choice(r, size=len(r)) for r in drawn])))
    low, high = np.percentile(medians, (2.5, 97.5))
    return float(low), float(high)


def verdict(low: float, high: float, tolerance: float) -> str:
    """Judges an interval of the ratio.

    Args:
        low: Its low end.
        high: Its high end.
        tolerance: How far from 1 counts as equal.

    Returns:
        "faster" or "slower" only if the whole interval lies beyond the tolerance, else "inconclusive".
    """
    if high < 1 - tolerance:
        return "faster"
    return "slower" if low > 1 + tolerance else "inconclusive"
