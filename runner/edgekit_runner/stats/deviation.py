"""How far outputs are from a reference: the largest error, the signal-to-noise ratio, the tolerance by default."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit_runner.backends import TensorInfo
from edgekit_runner.errors import VerificationError

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE, QUANTIZATION_STEPS = 1e-3, 1e-5, 2

Array = NDArray[Any]


def max_error(name: str, real: Array, reference: Array) -> float:
    """The largest absolute difference.

    Args:
        name: The output.
        real: What it gave.
        reference: What it should give.

    Raises:
        VerificationError: It has another shape, or NaN or infinity where the reference has none.
    """
    if real.shape != reference.shape:
        raise VerificationError(
            f"output {name!r} has shape {list(real.shape)}, golden has {list(reference.shape)}."
        )
    a, b = real.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        raise VerificationError(
            f"output {name!r} holds NaN or infinity where golden does not; it is not timed."
        )
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0))


def ratio_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two powers: the one place that knows decibels.

    It is infinite without noise, minus infinity where there is noise without a signal, or noise that is not finite.
    Callers clip it to what their records can hold.
    """
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and math.isfinite(noise) else -math.inf


def snr_db(reference: Array, got: Array) -> float:
    """The signal-to-noise ratio 10 log10(|reference|^2 / |reference - got|^2), in decibels.

    It is infinite without an error, and NaN without a signal or with NaN or infinity in either array.
    """
    right = reference.astype(np.float64)
    signal, noise = float(np.square(right).sum()), float(np.square(got - right).sum())
    if not signal or not math.isfinite(signal) or not math.isfinite(noise):
        return math.nan
    return ratio_db(signal, noise)


def default_atol(info: TensorInfo, reference: Array) -> tuple[float, str]:
    """The tolerance of an output where none is given, and its source.

    It is two quantization steps of a quantized output, else 1e-3 of the largest reference value + 1e-5.
    """
    if info.scale is not None:
        return QUANTIZATION_STEPS * info.scale, f"{QUANTIZATION_STEPS} quantization steps"
    finite = np.abs(reference[np.isfinite(reference)], dtype=np.float64)
    return RELATIVE_TOLERANCE * float(
        finite.max(initial=0.0)
    ) + ABSOLUTE_TOLERANCE, "1e-3 of max |golden| + 1e-5"
