"""Do the calibration inputs look like the ones that are scored? Different preprocessing is the commonest silent mistake.

Ranges come from the calibration inputs. If those are pixels of 0 to 255 where the model is evaluated on normalized
ones, every range is wrong and nothing fails: only the metric falls, and nobody knows why. So mean and standard
deviation of each channel, and the share of calibration values outside the 0.1 to 99.9 % range of the evaluation's,
are compared. Streamed: sums in float64, and a thinned sample of values for the range. Cost: one pass over numbers
that are in memory anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_CHANNELS = 16  # more "channels" than this are features or time steps: compared together
KEEP_VALUES = 200_000  # per channel, for the range
# Other preprocessing moves a mean by a standard deviation or halves the spread; other samples do neither. Of the
# limits below, 100 photos beside 400 reach 0.61, groups of 8 photos at most 0.83, 100 digits beside 600 0.59; pixels
# of [0, 1] for [-1, 1] reach 1.5, torchvision's normalization for that 4.5. Channels in another order are not seen.
MAX_SHIFT = 0.7  # of the standard deviation of the evaluation values
MAX_SPREAD_RATIO = 1.7
MAX_OUTSIDE = 0.1
RANGE = (0.001, 0.999)


class Statistics:
    """Mean, standard deviation and range of every floating input, channel by channel."""

    def __init__(self) -> None:
        self.inputs: dict[int, Channels] = {}

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """Adds one batch: one array per input, [N, ...]; inputs that are not floating are left out."""
        for index, array in enumerate(arrays):
            if array.dtype.kind == "f" and array.size:
                values = _by_channel(array)
                known = self.inputs.setdefault(index, Channels(len(values)))
                if known.count == len(values):  # else a free axis is of another length this time
                    known.add(values)


class Channels:
    """Statistics of one input; mean, std, low and high hold one number per channel."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._number = 0
        self._sum, self._squares = np.zeros(count), np.zeros(count)
        self._kept: list[np.ndarray] = []
        self._stride = 1

    def add(self, values: np.ndarray) -> None:
        """Adds values, [channels, N]."""
        self._number += values.shape[1]
        self._sum += values.sum(axis=1, dtype=np.float64)
        self._squares += np.square(values, dtype=np.float64).sum(axis=1)
        self._kept.append(values[:, :: self._stride].copy())
        while sum(kept.shape[1] for kept in self._kept) > KEEP_VALUES:
            self._kept = [np.concatenate(self._kept, axis=1)[:, ::2]]
            self._stride *= 2

    @property
    def mean(self) -> np.ndarray:
        """The mean of each channel."""
        return self._sum / self._number

    @property
    def std(self) -> np.ndarray:
        """The standard deviation of each channel."""
        return np.sqrt(np.maximum(self._squares / self._number - self.mean**2, 0))

    @property
    def values(self) -> np.ndarray:
        """A thinned sample of the values, [channels, N]."""
        return np.concatenate(self._kept, axis=1)


@dataclass(frozen=True)
class Difference:
    """One channel of the calibration inputs beside the same channel of the evaluation inputs.

    Attributes:
        index: The position of the input.
        channel: The position of the channel.
        mean: The mean of the calibration values.
        std: The standard deviation of the calibration values.
        scored_mean: The mean of the values that are scored.
        scored_std: The standard deviation of the values that are scored.
        outside: The share of calibration values outside the range of those that are scored.
        amount: How much they differ, in units of what two halves of one data set may differ by.
    """

    index: int
    channel: int
    mean: float
    std: float
    scored_mean: float
    scored_std: float
    outside: float
    amount: float

    @property
    def far(self) -> bool:
        """Whether they differ by more than two halves of one data set do."""
        return self.amount > 1

    def __str__(self) -> str:
        return (
            f"calibration inputs have mean {self.mean:.3g}, std {self.std:.3g}; the metric's have mean "
            f"{self.scored_mean:.3g}, std {self.scored_std:.3g} (input {self.index}, channel {self.channel}; "
            f"{self.outside:.0%} of the calibration values lie outside the metric's range): the same preprocessing?"
        )


def doubts(calibration: Statistics, scored: Statistics) -> tuple[str, ...]:
    """Describes, for every input whose calibration is far from what is scored, the channel that differs most."""
    worst = [max(found, key=lambda d: d.amount) for found in differences(calibration, scored).values()]
    return tuple(str(difference) for difference in worst if difference.far)


def differences(calibration: Statistics, scored: Statistics) -> dict[int, list[Difference]]:
    """Returns, by input, how each of its channels differs."""
    both = calibration.inputs.keys() & scored.inputs.keys()
    return {i: _compare(i, calibration.inputs[i], scored.inputs[i]) for i in sorted(both)}


def _compare(index: int, found: Channels, scored: Channels) -> list[Difference]:
    low, high = np.quantile(scored.values, RANGE, axis=1)
    margin = 0.01 * (high - low)
    values = found.values
    outside = ((values < (low - margin)[:, None]) | (values > (high + margin)[:, None])).mean(axis=1)
    # a channel that is constant, or nearly so beside the others, has no scale of its own
    floor = max(0.05 * float(scored.std.max()), 1e-6)
    spread, scored_spread = np.maximum(found.std, floor), np.maximum(scored.std, floor)
    shift = np.abs(found.mean - scored.mean) / scored_spread
    ratio = np.maximum(spread / scored_spread, scored_spread / spread)
    amount = np.maximum(np.maximum(shift / MAX_SHIFT, ratio / MAX_SPREAD_RATIO), outside / MAX_OUTSIDE)
    columns = zip(found.mean, found.std, scored.mean, scored.std, outside, amount, strict=True)
    return [Difference(index, channel, *map(float, column)) for channel, column in enumerate(columns)]


def _by_channel(array: np.ndarray) -> np.ndarray:
    """Reshapes [N, C, ...] to [C, values], and anything without channels to [1, values]."""
    if array.ndim >= 3 and array.shape[1] <= MAX_CHANNELS:
        return np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)
    return array.reshape(1, -1)
