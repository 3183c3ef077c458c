"""Between real values and what an artifact stores: real = (stored - zero_point) * scale."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit_runner.backends import TensorInfo
from edgekit_runner.errors import UserError


def quantize(real: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """Real values to the tensor's integers: scaled, rounded half to even, shifted, saturated to its dtype."""
    if info.scale is None or info.zero_point is None:
        raise UserError(
            f"tensor {info.name!r} is {info.dtype} without scale and zero point: give {info.dtype}."
        )
    limits = np.iinfo(info.dtype)
    stored: NDArray[Any] = np.rint(np.asarray(real, np.float64) / info.scale) + info.zero_point
    saturated: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(info.dtype)
    return saturated


def dequantize(stored: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """The tensor's stored values as real values: float32, or float64 and plain integers as they are."""
    if info.scale is not None and info.zero_point is not None and stored.dtype.kind in "iu":
        return ((stored.astype(np.float64) - info.zero_point) * info.scale).astype(np.float32)
    return stored.astype(np.float32) if stored.dtype == np.float16 else stored


def as_feed(array: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """An array as the tensor's own dtype, contiguous. Real values given for a quantized input are quantized.

    Raises `UserError` where the conversion would lose what was meant: fractions, or values out of range.
    """
    wanted = np.dtype(info.dtype)
    if array.dtype == wanted:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f" and wanted.kind == "f":
        return np.ascontiguousarray(array, dtype=wanted)
    if array.dtype.kind == "f" and wanted.kind in "iu":
        return np.ascontiguousarray(quantize(array, info))
    converted = array.astype(wanted)
    if array.dtype.kind in "iub" and np.array_equal(converted, array):
        return np.ascontiguousarray(converted)
    raise UserError(
        f"input {info.name!r} takes {info.dtype}; these {array.dtype} values do not convert to it."
    )
