"""What every output and channel keeps to float: faults made by hand, each seen by the figure that is for it."""

import numpy as np
import pytest

from edgekit.arrays import slice_axis
from edgekit.records import OutputParity
from edgekit.verify.outputs import HALF_NOISE_DB, OutputStatistics

RNG = np.random.default_rng(0)
BOXES = RNG.uniform(0, 640, (40, 4, 32)).astype(np.float32)
SCORES = RNG.uniform(0, 1, (40, 3, 32)).astype(np.float32)
BOTH = np.concatenate([BOXES, SCORES], 1)


def compared(reference: np.ndarray, got: np.ndarray, batch: int = 7) -> OutputParity:
    statistics = OutputStatistics("y")
    for start in range(0, len(reference), batch):
        statistics.add(reference[start : start + batch], got[start : start + batch])
    return statistics.parity()


def rounded(values: np.ndarray, step: float, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    return np.clip(np.round(values / step) * step, low, high).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((8,), None), ((8, 10), 1), ((8, 7, 64), 1), ((8, 64, 7), 2), ((8, 9, 9), 1), ((8, 21, 32, 32), 1), ((8, 32, 32, 21), 3),
        ((8, 32, 32, 32), 1), ((8, 512, 7, 7), 1), ((8, 3, 4, 5, 6), 1),
    ],
)  # fmt: skip
def test_where_channels_are(shape: tuple[int, ...], axis: int | None) -> None:
    assert slice_axis(shape) == axis


def test_the_figures_are_those_of_numpy() -> None:
    reference = RNG.normal(size=(50, 6)).astype(np.float32)
    got = (reference + 0.1 * RNG.normal(size=(50, 6))).astype(np.float32)
    found = compared(reference, got)
    error = ((got - reference).astype(np.float64) ** 2).sum(0)
    signal = (reference.astype(np.float64) ** 2).sum(0)
    by_channel = 10 * np.log10(signal / error)
    assert found.snr_db == pytest.approx(10 * np.log10(signal.sum() / error.sum()), abs=1e-6)
    assert found.correlation == pytest.approx(np.corrcoef(reference.ravel(), got.ravel())[0, 1], abs=1e-9)
    assert (found.slices, found.worst_slice) == (6, int(by_channel.argmin()))
    assert found.worst_slice_snr_db == pytest.approx(by_channel.min(), abs=1e-6)


def test_every_value_at_one_end_of_the_range_is_stuck() -> None:
    found = compared(BOTH, rounded(BOTH, 1 / 256, 0, 255 / 256))
    assert found.stuck_ratio > 0.95
    assert found.snr_db is not None and found.snr_db < 1


def test_a_range_that_clips_a_little_is_not() -> None:
    values = RNG.normal(size=(400, 8)).astype(np.float32)
    found = compared(values, rounded(values, 0.025, -3, 3))
    assert found.stuck_ratio < 0.01


def test_zeros_of_a_relu_are_where_float_has_them() -> None:
    values = np.maximum(RNG.normal(size=(400, 8)), 0).astype(np.float32)
    assert compared(values, rounded(values, 0.02)).stuck_ratio == 0


def test_scores_beside_boxes_on_one_scale_are_lost() -> None:
    found = compared(BOTH, rounded(BOTH, 640 / 255))
    assert found.lost == (4, 5, 6)
    assert found.snr_db is not None and found.snr_db > 40, "the whole does not tell"


def test_with_scales_of_their_own_nothing_is_lost() -> None:
    got = np.concatenate([rounded(BOXES, 640 / 255), rounded(SCORES, 1 / 255)], 1)
    assert compared(BOTH, got).lost == ()


def test_a_dead_channel_is_not_lost() -> None:
    values = RNG.normal(size=(100, 4)).astype(np.float32)
    values[:, 2] *= 1e-7
    assert compared(values, rounded(values, 0.02)).lost == ()


def test_noise_over_all_channels_alike_is_no_loss_of_one() -> None:
    """An untrained net: constants by channel, little variation, noise above it. The whole output's figure judges that."""
    values = RNG.normal(size=(1, 10)) + 0.01 * RNG.normal(size=(200, 10))
    got = values + 0.05 * RNG.normal(size=(200, 10))
    assert compared(values.astype(np.float32), got.astype(np.float32)).lost == ()
    assert HALF_NOISE_DB > 0


def test_an_answer_that_never_varies_has_no_correlation() -> None:
    values = RNG.normal(size=(30, 1)).astype(np.float32)
    found = compared(values, np.zeros_like(values))
    assert found.correlation is None
    assert found.stuck_ratio > 0.9


def test_integers_are_compared_as_integers() -> None:
    values = RNG.integers(0, 9, (30, 5))
    got = values.copy()
    got[:3] += 1
    assert compared(values, got).equal_ratio == pytest.approx(0.9)


def test_nothing_finite_is_nothing_known() -> None:
    found = compared(np.full((3, 2), np.nan, np.float32), np.zeros((3, 2), np.float32))
    assert (found.slices, found.snr_db, found.correlation) == (0, None, None)


def test_classes_below_the_grid_of_a_softmax_are_not_lost() -> None:
    """40 of 64 classes that the samples hardly hold: 1/256 rounds them to nothing, and nothing is hidden by another unit."""
    logits = RNG.normal(size=(200, 64)).astype(np.float32)
    logits[:, 24:] -= 9
    values = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert compared(values, rounded(values, 1 / 256)).lost == ()
    boxes_too = np.concatenate([BOXES[:, :, 0], values[:40]], 1)
    assert compared(boxes_too, rounded(boxes_too, 2.5)).lost != ()
