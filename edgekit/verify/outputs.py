"""One output of an artifact beside the float model's: as a whole, and channel by channel, streamed over the samples.

A metric may look at one part of what a model answers; this looks at all of it. Three figures tell three faults apart:

- the signal-to-noise ratio, 10 log10(|float|^2 / |float - artifact|^2): another function, a broken weight;
- the correlation: the answer hardly varies any more, though a large constant part keeps the ratio high;
- the share of values that sit on the artifact's lowest or highest value where float has another: a range far too small.

A channel is lost where its own variation is gone and the grid that it shares with the others is why: the noise is
above half of its variance while it is far below that of the whole output (scores of 0 to 1 beside boxes of 0 to 640).
Channels that form one distribution (none negative, their sum 1) share a unit: what is below the grid there is a class that
the samples do not hold, not a signal that another unit hides. This refuses files, so it asks for certain loss; what
weighs one program against another, or points at a layer, compares with `edgekit.quant.slices`, which needs no proof.
Memory is a few numbers per channel.
"""

import math
from collections.abc import Collection

import numpy as np
from edgekit_runner.stats.deviation import ratio_db

from edgekit.arrays import slice_axis
from edgekit.records import OutputParity

LOWEST_DB = -200.0  # stands for noise without any signal: JSON has no infinity
NOTHING = 1e-6  # an error below this, where the float output is zero, is rounding
STUCK_TOLERANCE = 0.05  # of the range, or of the value: what is this near to the end counts as the end
HALF_NOISE_DB = 3.0  # the ratio of a channel's variation to its noise where half of it is noise
SMALL_RATIO = 0.05  # a channel below this share of the widest channel's variation has another unit
DEAD_RATIO = 1e-5  # below this share of it there is nothing that an 8-bit file, or a person, would miss
FEW_SLICES = 32  # in an output with more channels, those that hardly ever fire may round to nothing
SUM_TOLERANCE = 1e-3  # how far the sum of the float model's own softmax may be from 1
QUIET_RATIO = 0.01  # a channel below this share of the median channel's variation hardly ever fires


class OutputStatistics:
    """Sums over all samples of one output.

    Args:
        name: What the artifact calls the output.
        free: The axes that may be of another length each time, which are no channels.
    """

    def __init__(self, name: str, free: Collection[int] = ()) -> None:
        self._name, self._free = name, free
        self._count = 0
        self._sums: dict[str, np.ndarray] = {}
        self._low = _End(-1)
        self._high = _End(1)
        self._equal = self._elements = 0
        self._is_integer = False
        self._is_distribution = True

    def add(self, reference: np.ndarray, got: np.ndarray) -> None:
        """Adds one batch.

        Args:
            reference: The float model's answers, [N, ...].
            got: The artifact's answers, of the same shape.
        """
        self._is_integer = reference.dtype.kind in "iub"
        self._elements += reference.size
        self._equal += int((reference == got).sum())
        if not reference.size or not (np.isfinite(reference).all() and np.isfinite(got).all()):
            return
        right, found = (_by_channel(a, self._free) for a in (reference, got))
        self._count += right.shape[1]
        self._is_distribution = self._is_distribution and _sums_to_one(right)
        sums = {
            "right": right.sum(1),
            "found": found.sum(1),
            "right2": _power(right),
            "found2": _power(found),
            "error2": _power(found - right),
        }
        self._sums = {key: self._sums.get(key, 0.0) + value for key, value in sums.items()}
        spread = float(found.max() - found.min())
        for end in (self._low, self._high):
            end.add(right, found, spread)

    def parity(self) -> OutputParity:
        """The figures of this output over all samples so far."""
        if not self._count:
            return OutputParity(name=self._name, snr_db=None, correlation=None, stuck_ratio=0.0, slices=0)
        error, right2 = self._sums["error2"], self._sums["right2"]
        slices = [decibels(float(s), float(e)) for s, e in zip(right2, error, strict=True)]
        known = [i for i, db in enumerate(slices) if db is not None and right2[i] > 0]
        worst = min(known, key=lambda i: slices[i] or 0.0, default=None)
        return OutputParity(
            name=self._name,
            snr_db=self._snr_db(),
            correlation=self._correlation(),
            stuck_ratio=float(max((end.counts / self._count).max() for end in (self._low, self._high))),
            slices=len(slices),
            worst_slice=worst,
            worst_slice_snr_db=None if worst is None else slices[worst],
            lost=() if self._is_distribution else self._lost(),
            equal_ratio=self._equal / self._elements if self._is_integer else None,
        )

    def _snr_db(self) -> float | None:
        signal, noise = float(self._sums["right2"].sum()), float(self._sums["error2"].sum())
        return None if not signal and noise < NOTHING**2 * self._count else decibels(signal, noise)

    def _variances(self) -> tuple[np.ndarray, np.ndarray]:
        """For each channel: float's variance around its own mean, and the power of the error."""
        mean = self._sums["right"] / self._count
        variance = np.maximum(self._sums["right2"] / self._count - mean**2, 0.0)
        return variance, self._sums["error2"] / self._count

    def _correlation(self) -> float | None:
        """Pearson's correlation over all values: (E[xy] - E[x] E[y]) / (s_x s_y), with E[xy] from the power of the difference."""
        n = self._count * len(self._sums["right"])
        x, y, xx, yy, ee = (
            float(self._sums[k].sum()) / n for k in ("right", "found", "right2", "found2", "error2")
        )
        covariance = (xx + yy - ee) / 2 - x * y
        variances = (xx - x * x) * (yy - y * y)
        tiny = 1e-12 * xx * yy
        return max(-1.0, min(1.0, covariance / math.sqrt(variances))) if variances > tiny else None

    def _lost(self) -> tuple[int, ...]:
        variance, noise = self._variances()
        widest = float(variance.max())
        quiet = QUIET_RATIO**2 * float(np.median(variance)) if len(variance) > FEW_SLICES else 0.0
        alive = variance > max(DEAD_RATIO**2 * widest, quiet)
        small = variance < SMALL_RATIO**2 * widest
        gone = variance < noise * 10 ** (HALF_NOISE_DB / 10)
        return tuple(int(i) for i in np.flatnonzero(alive & small & gone))


class _End:
    """Counts, by channel, how often the artifact has its lowest (side -1) or highest (1) value where float has another."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._value = -math.inf
        self.counts = np.zeros(1)

    def add(self, right: np.ndarray, found: np.ndarray, spread: float) -> None:
        signed, wanted = self._side * found, self._side * right
        end = float(signed.max())
        if end < self._value:
            return
        if end > self._value:
            self._value, self.counts = end, np.zeros(len(right))
        far = np.abs(wanted - end) > STUCK_TOLERANCE * np.maximum(spread, np.abs(wanted))
        self.counts = self.counts + ((signed == end) & far).sum(1)


def decibels(signal: float, noise: float) -> float | None:
    """The signal-to-noise ratio in dB, not below LOWEST_DB; None where there is no noise."""
    return None if noise <= 0 else max(ratio_db(signal, noise), LOWEST_DB)


def _by_channel(array: np.ndarray, free: Collection[int]) -> np.ndarray:
    """Turns [N, ...] into [channels, values] of float64."""
    axis = slice_axis(array.shape)
    if axis in free:
        axis = next((i for i in reversed(range(1, array.ndim)) if i not in free), None)
    values = array.astype(np.float64, copy=False)
    return (
        values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0).reshape(array.shape[axis], -1)
    )


def _sums_to_one(values: np.ndarray) -> bool:
    """Whether each position of [channels, values] is a distribution over the channels."""
    return bool(len(values) > 1 and (values >= 0).all() and (np.abs(values.sum(0) - 1) < SUM_TOLERANCE).all())


def _power(values: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", values, values)
