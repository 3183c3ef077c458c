"""Smoothing, and seconds between the widths that were measured."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.prune.latency.curve import Curve, smoothed, to_measure


def test_what_never_falls_stays_as_it_is() -> None:
    assert smoothed([1, 2, 2, 5]) == [1, 2, 2, 5]
    assert smoothed([]) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1, 1.04), min_size=1, max_size=20))
def test_noise_is_levelled_and_the_sum_stays(values: list[float]) -> None:
    found = smoothed(values)
    assert found == sorted(found)
    assert sum(found) == pytest.approx(sum(values))


def test_a_staircase_keeps_its_odd_widths_apart() -> None:
    """As measured: 63 of 64 channels take longer than 64, which smoothing of all together would level."""
    curve = Curve([32, 33, 49, 63, 64], [0.5, 0.8, 1.0, 1.3, 1.0], 64, 8)
    assert curve.share(64) == 1
    assert curve.share(63) == pytest.approx(1.3)
    assert curve.share(49) == pytest.approx(1.0)
    assert curve.share(32) == 0.5
    assert curve.share(48) == pytest.approx(0.75)  # between 32 and 64
    assert curve.share(56) < curve.share(57)  # an odd one costs more than its aligned neighbour


def test_noise_between_aligned_widths_is_levelled() -> None:
    curve = Curve([8, 16, 24, 32], [0.4, 0.71, 0.69, 1.0], 32, 8)
    assert curve.at(16) == curve.at(24) == pytest.approx(0.70)


def test_a_fall_too_large_for_noise_is_believed() -> None:
    """As measured: eight channels in integers take longer than sixteen."""
    assert smoothed([60, 52, 53, 52.5, 70]) == [60, 52, 52.75, 52.75, 70]
    assert Curve([8, 16], [60, 52], 16, 8).share(8) == pytest.approx(60 / 52)


def test_a_width_below_all_measured_takes_less_and_never_nothing() -> None:
    curve = Curve([8, 16], [0.4, 0.7], 16, 8)
    assert 0 < curve.at(4) < curve.at(8)
    assert Curve([8, 16], [0.1, 0.7], 16, 8).at(1) > 0


def test_widths_to_measure_are_aligned_ones_the_whole_and_some_odd_ones() -> None:
    found = to_measure(64, 8)
    assert [w for w in found if w % 8 == 0] == [8, 16, 24, 32, 40, 48, 56, 64]
    assert [w for w in found if w % 8] == [17, 33, 63]
    assert [w for w in to_measure(512, 8) if w % 8 == 0] == [8, *range(64, 513, 64)]
    assert [w for w in to_measure(96, 8) if w % 8 == 0] == [8, 16, 32, 48, 64, 80, 96]
    assert all(w % 4 == 0 for w in to_measure(48, 16, blocks=4))
    assert to_measure(8, 8)[-1] == 8
