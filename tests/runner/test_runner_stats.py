"""Percentile rule and the order-statistics interval, against brute force."""

import itertools
import math
from fractions import Fraction
from statistics import median as reference_median

import numpy as np
import pytest
from edgekit_runner.stats import quantiles


@pytest.mark.parametrize(("q", "least"), [(90, 100), (95, 200), (99, 1000)])
def test_percentile_needs_ten_values_beyond_it(q: int, least: int) -> None:
    assert quantiles.percentile_allowed(least, q)
    assert not quantiles.percentile_allowed(least - 1, q)


def test_summary_gives_a_reason_for_every_withheld_percentile() -> None:
    found = quantiles.summary_s([i / 1000 for i in range(1, 151)])
    assert found["p50_s"] == pytest.approx(0.0755)
    assert found["p90_s"] is not None and found["p90_reason"] is None
    assert found["p95_s"] is None and "n=150 < 200" in found["p95_reason"]
    assert found["p99_s"] is None and "n=150 < 1000" in found["p99_reason"]


def test_summary_agrees_with_numpy() -> None:
    sample = np.random.default_rng(0).lognormal(size=1000)
    found = quantiles.summary_s(sample.tolist())
    assert found["mean_s"] == pytest.approx(sample.mean())
    assert found["std_s"] == pytest.approx(sample.std())
    for q in (90, 95, 99):
        assert found[f"p{q}_s"] == pytest.approx(np.percentile(sample, q))


def brute_force_coverage(count: int, rank: int) -> float:
    """Share of the 2^n ways to lie below or above the median in which the two order statistics enclose it."""
    inside = 0
    for below in itertools.product((0, 1), repeat=count):
        inside += rank <= sum(below) <= count - rank
    return inside / 2**count


@pytest.mark.parametrize("count", range(1, 15))
def test_median_rank_is_the_tightest_that_covers(count: int) -> None:
    rank = quantiles.median_rank(count)
    assert (rank == 0) == (count < 6)
    if rank:
        assert brute_force_coverage(count, rank) >= 0.95
    assert brute_force_coverage(count, rank + 1) < 0.95


def test_exact_and_normal_ranks_meet() -> None:
    exact = quantiles.median_rank(2000)
    assert abs(exact - (2000 - 1.96 * 2000**0.5) / 2) < 1.5
    assert exact <= quantiles.median_rank(2001) <= exact + 2


def test_interval_of_too_few_values_is_null_with_a_reason() -> None:
    found = quantiles.median_interval([1.0] * 5)
    assert found.low is None and found.high is None and found.reason


def test_interval_covers_the_true_median_of_a_skewed_sample() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(400):
        found = quantiles.median_interval(rng.lognormal(size=30).tolist())
        assert found.low is not None and found.high is not None
        hits += found.low <= 1.0 <= found.high
    assert hits >= 0.93 * 400


def test_median_agrees_with_the_standard_library() -> None:
    for values in ([3.0], [1.0, 2.0], [5.0, 1.0, 3.0], [4.0, 1.0, 2.0, 9.0]):
        assert quantiles.median(values) == reference_median(values)


def exact_coverage(count: int, q_percent: int, low: int, high: int) -> float:
    """P(low <= number of values below the percentile < high), the chance that the two ranks enclose it."""
    q = Fraction(q_percent, 100)
    chances = (math.comb(count, k) * q**k * (1 - q) ** (count - k) for k in range(low, high))
    return float(sum(chances))


@pytest.mark.parametrize(("count", "q"), [(100, 90), (137, 90), (200, 95), (1000, 99), (300, 50)])
def test_ranks_of_a_percentile_cover_it(count: int, q: int) -> None:
    low, high = quantiles.quantile_ranks(count, q)
    assert 1 <= low < high <= count
    assert exact_coverage(count, q, low, high) >= 0.95
    assert exact_coverage(count, q, low + 1, high - 1) < 0.95 + 2 * 0.05


def test_exact_and_normal_ranks_of_a_percentile_meet() -> None:
    exact, normal = quantiles.quantile_ranks(2000, 95), quantiles.quantile_ranks(2001, 95)
    assert all(abs(a - b) <= 3 for a, b in zip(exact, normal, strict=True))
