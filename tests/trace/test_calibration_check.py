"""Calibration inputs beside those of the metric: far apart where preprocessing differs, near where photos differ."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgekit.trace import calibration_check

PIXELS = load_digits().data.astype(np.float32).reshape(-1, 1, 8, 8) / 16
ORDER = np.random.RandomState(0).permutation(len(PIXELS))
CALIBRATION, SCORED = PIXELS[ORDER[:100]], PIXELS[ORDER[100:700]]
RNG = np.random.default_rng(0)


def statistics(*arrays: np.ndarray, batch: int = 50) -> calibration_check.Statistics:
    """All samples of one input, streamed in batches."""
    made = calibration_check.Statistics()
    for array in arrays:
        for start in range(0, len(array), batch):
            made.add([array[start : start + batch]])
    return made


def doubts(calibration: np.ndarray, scored: np.ndarray = SCORED) -> tuple[str, ...]:
    return calibration_check.doubts(statistics(calibration), statistics(scored))


def test_streamed_figures_are_those_of_the_whole() -> None:
    whole = RNG.standard_normal((90, 3, 4, 5)).astype(np.float32) * [[[[2]], [[3]], [[4]]]] + 7
    (found,) = statistics(whole.astype(np.float32), batch=7).inputs.values()
    np.testing.assert_allclose(found.mean, whole.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.std, whole.std((0, 2, 3)), rtol=1e-5)


def test_memory_is_bounded_and_the_kept_values_are_of_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_check, "KEEP_VALUES", 100)
    (found,) = statistics(np.arange(5000, dtype=np.float32).reshape(-1, 1), batch=10).inputs.values()
    assert 40 < found.values.shape[1] <= 100
    assert found.values.min() < 300 and found.values.max() > 4700


@pytest.mark.parametrize("count", [10, 30, 100])
def test_other_samples_of_the_same_data_are_no_doubt(count: int) -> None:
    assert doubts(CALIBRATION[:count]) == ()


@pytest.mark.parametrize(
    "mistake",
    [
        lambda x: x * 255,  # never scaled
        lambda x: x / 255,  # scaled twice
        lambda x: (x - 0.5) / 0.5,  # normalized where the evaluation is not
        lambda x: 1 - x,  # inverted
        lambda x: np.zeros_like(x),
    ],
)
def test_other_preprocessing_is_one(mistake: object) -> None:
    (doubt,) = doubts(mistake(CALIBRATION))  # type: ignore[operator]
    assert doubt.endswith("the same preprocessing?")


def test_the_doubt_has_the_figures() -> None:
    (doubt,) = doubts(CALIBRATION * 255)
    mean, std = CALIBRATION.mean() * 255, CALIBRATION.std() * 255
    assert doubt.startswith(
        f"calibration inputs have mean {mean:.3g}, std {std:.3g}; the metric's have mean {SCORED.mean():.3g}, "
        f"std {SCORED.std():.3g} (input 0, channel 0; "
    )


def test_the_worst_channel_is_named() -> None:
    scored = RNG.standard_normal((200, 3, 4, 4)).astype(np.float32)
    calibration = RNG.standard_normal((100, 3, 4, 4)).astype(np.float32)
    assert doubts(calibration, scored) == ()
    calibration[:, 1] += 2
    (doubt,) = doubts(calibration, scored)
    assert "(input 0, channel 1; " in doubt


def test_many_features_are_compared_together() -> None:
    """A hundred features of twenty rows each: by chance alone some differ much."""
    scored = RNG.standard_normal((20, 100)).astype(np.float32)
    assert doubts(RNG.standard_normal((20, 100)).astype(np.float32), scored) == ()


def test_a_constant_channel_is_no_doubt_where_it_is_the_same_constant() -> None:
    scored = RNG.standard_normal((50, 2, 4, 4)).astype(np.float32)
    scored[:, 1] = 0.5
    calibration = RNG.standard_normal((50, 2, 4, 4)).astype(np.float32)
    calibration[:, 1] = 0.5
    assert doubts(calibration, scored) == ()
    calibration[:, 1] = 3
    assert len(doubts(calibration, scored)) == 1


def test_token_numbers_have_no_preprocessing() -> None:
    assert doubts(np.full((9, 4), 7), np.arange(36).reshape(9, 4)) == ()


def test_every_input_is_compared_with_its_own() -> None:
    def two(scale: float) -> calibration_check.Statistics:
        made = calibration_check.Statistics()
        made.add([SCORED[:50], SCORED[:50] * scale])
        return made

    assert calibration_check.doubts(two(100), two(100)) == ()
    (doubt,) = calibration_check.doubts(two(1), two(100))
    assert "(input 1, channel 0; " in doubt
