"""Seconds at any width, from the widths that were measured.

Aligned widths, the multiples that suit a target's kernels, and all others are two curves: 63 of 64 channels
take longer than 64 (`edgekit.prune.widths`). Each is smoothed on its own (`smoothed`). Between measured
widths the aligned curve is linear; an odd width costs what the aligned curve says times a factor, which is
linear between the odd widths measured.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression

#: minima of 40 runs differ by less from one process to the next
NOISE_RATIO = 0.05


class Curve:
    """The time of one micro-model by width.

    Args:
        widths: The widths that were measured.
        seconds: The time at each of them.
        whole: The width of the whole group, which counts as aligned.
        multiple: The number that aligned widths are a multiple of.

    Attributes:
        widths: The aligned widths that were measured.
    """

    def __init__(self, widths: Sequence[int], seconds: Sequence[float], whole: int, multiple: int) -> None:
        pairs = sorted(zip(widths, seconds, strict=True))
        aligned = [(w, s) for w, s in pairs if is_aligned(w, whole, multiple)]
        odd = [(w, s) for w, s in pairs if not is_aligned(w, whole, multiple)]
        self._whole, self._multiple = whole, multiple
        self.widths = [w for w, _ in aligned]
        self._seconds = smoothed([s for _, s in aligned])
        self._odd = [w for w, _ in odd]
        smooth = smoothed([s for _, s in odd])
        self._factors = [s / self._aligned(w) for w, s in zip(self._odd, smooth, strict=True)]

    def at(self, width: int) -> float:
        """Returns the seconds of one run."""
        if is_aligned(width, self._whole, self._multiple) or not self._odd:
            return self._aligned(width)
        return self._aligned(width) * float(np.interp(width, self._odd, self._factors))

    def share(self, width: int) -> float:
        """Returns the time as a share of the time at the whole width."""
        return self.at(width) / self.at(self._whole)

    def _aligned(self, width: int) -> float:
        """Below the least measured width the slope continues, down to nothing."""
        if width >= self.widths[0] or len(self.widths) == 1:
            return float(np.interp(width, self.widths, self._seconds))
        (w0, w1), (s0, s1) = self.widths[:2], self._seconds[:2]
        return max(s0 + (s1 - s0) * (width - w0) / (w1 - w0), s0 * width / w0)


def is_aligned(width: int, whole: int, multiple: int) -> bool:
    """Returns whether a width suits the kernels: a multiple, or the whole width."""
    return width % multiple == 0 or width == whole


def to_measure(whole: int, step: int, blocks: int = 1, most: int = 8) -> list[int]:
    """Chooses the widths to measure.

    They are multiples of `step`, or of twice or four times as much where there would be more than `most`; the
    least width, the whole, and three odd widths. No plan may have odd widths; but without them, predictions
    for plans of others are too low (49 of 64 channels: 0.77 of the work, all of the time).

    Args:
        whole: The width of the whole group.
        step: The number that widths of a plan are a multiple of.
        blocks: The number that every width must be a multiple of.
        most: The largest number of multiples to measure.
    """
    wide = step
    while whole // wide > most:
        wide *= 2
    multiples = [min(step, whole), *range(wide, whole, wide), whole]
    odd = {whole - blocks, whole // 2 + blocks, whole // 4 + blocks}
    odd = {w for w in odd if 0 < w < whole and w % blocks == 0 and w % step}
    return sorted({*multiples, *odd})


def smoothed(values: Sequence[float]) -> list[float]:
    """Returns the nearest sequence that never falls, in least squares; a fall too large for noise divides it.

    More channels of the same kind take no less time, so a small fall is noise, and noise is what a search for
    the best would pick. A large fall is a fact: with AVX-512 an int8 convolution of 16 channels takes 52 us,
    and one of 8 takes 60.
    """
    parts: list[list[float]] = []
    for value in values:
        if not parts or parts[-1][-1] > value * (1 + NOISE_RATIO):
            parts.append([])
        parts[-1].append(value)
    return [float(value) for part in parts for value in isotonic_regression(part).x]
