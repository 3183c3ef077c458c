"""Isotonic smoothing: the sequence that never falls and is nearest to the one measured, in least squares.

More channels of the same kind never take less time, so that a measurement where they do is noise, and noise is what a search
for the best would pick. Pool adjacent violators: Barlow et al. 1972, "Statistical Inference under Order Restrictions".
"""

from collections.abc import Sequence


def isotonic(values: Sequence[float]) -> list[float]:
    """`values` with each stretch that falls replaced by its mean. Linear in their number."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (high, n), (low, m) = pools[-2:]
            pools[-2:] = [((high * n + low * m) / (n + m), n + m)]
    return [mean for mean, count in pools for _ in range(count)]
