"""What goes into an artifact: values as it stores them, seeded inputs, and inputs repeated to another batch.

An integer that is stored stands for the real value (stored - zero_point) * scale.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit_runner.backends import Arrays, Feeds, TensorInfo
from edgekit_runner.errors import UserError


def quantize(real: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """Real values to the tensor's integers: scaled, rounded half to even, shifted, saturated to its dtype.

    Raises:
        UserError: The tensor has no scale and zero point.
    """
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
    """An array as the tensor's own dtype, contiguous.

    Args:
        array: Values of any dtype; real values for a quantized input are quantized.
        info: The input.

    Raises:
        UserError: The conversion would lose what was meant: fractions, or values out of range.
    """
    wanted = np.dtype(info.dtype)
    if array.dtype == wanted:
        return np.asarray(array, order="C")
    if array.dtype.kind == "f" and wanted.kind == "f":
        return np.asarray(array, dtype=wanted, order="C")
    if array.dtype.kind == "f" and wanted.kind in "iu":
        return np.asarray(quantize(array, info), order="C")
    converted = array.astype(wanted)
    if array.dtype.kind in "iub" and np.array_equal(converted, array):
        return np.asarray(converted, order="C")
    raise UserError(
        f"input {info.name!r} takes {info.dtype}; these {array.dtype} values do not convert to it."
    )


def with_batch(inputs: tuple[TensorInfo, ...], feeds: Feeds, batch_count: int) -> Arrays:
    """The feeds repeated along axis 0.

    Args:
        inputs: The inputs of the artifact.
        feeds: Arrays by the name of the input.
        batch_count: The length of axis 0 to come to.

    Raises:
        UserError: An input fixes another batch.
    """
    fixed = next((info for info in inputs if not info.shape or info.shape[0] not in (-1, batch_count)), None)
    if fixed is not None:
        kept = fixed.shape[0] if fixed.shape else "none"
        raise UserError(
            f"input {fixed.name!r} has a fixed batch of {kept}, asked was {batch_count}; "
            "leave the batch out, or export the model with a free batch dimension."
        )
    return {name: np.resize(array, (batch_count, *array.shape[1:])) for name, array in feeds.items()}


def with_length(inputs: tuple[TensorInfo, ...], feeds: Feeds, length_count: int) -> Arrays:
    """The feeds repeated, or cut, along every free axis behind axis 0.

    Args:
        inputs: The inputs of the artifact.
        feeds: Arrays by the name of the input.
        length_count: The length to come to.

    Raises:
        UserError: No input has such an axis.
    """
    free = {info.name: [axis for axis, size in enumerate(info.shape) if axis and size < 0] for info in inputs}
    if not any(free.values()):
        shapes = ", ".join(f"{info.name} {list(info.shape)}" for info in inputs)
        raise UserError(
            f"no input has a free axis behind the first ({shapes}), asked was a length of {length_count}; "
            "leave the length out, or export the model with a free one."
        )
    found = dict(feeds)
    for name, axes in free.items():
        for axis in axes:
            places = np.arange(length_count) % found[name].shape[axis]
            found[name] = np.take(found[name], places, axis)
    return found


def resized(
    inputs: tuple[TensorInfo, ...], feeds: Feeds, batch_count: int | None, length_count: int | None
) -> Arrays:
    """The feeds with the batch and the length that are asked for; None leaves them as they are.

    Raises:
        UserError: The artifact fixes one of them.
    """
    found = dict(feeds) if batch_count is None else with_batch(inputs, feeds, batch_count)
    return found if length_count is None else with_length(inputs, found, length_count)


def random_inputs(inputs: tuple[TensorInfo, ...], seed: int) -> Arrays:
    """Seeded inputs in the artifact's dtype.

    Floats are uniform in [0, 1), bytes go over their whole range, wider integers are 0 or 1 (they tend to be
    indices). A free dimension becomes 1.
    """
    feeds: Arrays = {}
    used = 0
    for info in inputs:
        shape, dtype = tuple(1 if d < 0 else d for d in info.shape), np.dtype(info.dtype)
        count = math.prod(shape)
        feeds[info.name] = _spread(_noise(seed, used, count).reshape(shape), dtype)
        used += count
    return feeds


def _spread(noise: NDArray[np.uint64], dtype: "np.dtype[Any]") -> NDArray[Any]:
    """Random 64-bit values as values of a dtype."""
    if dtype.kind == "f":
        return ((noise >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)).astype(dtype)
    if dtype.itemsize > 1 or dtype.kind == "b":
        return (noise >> np.uint64(63)).astype(dtype)
    return (noise >> np.uint64(56)).astype(np.uint8).view(dtype)


def _noise(seed: int, start: int, count: int) -> NDArray[np.uint64]:
    """Values `start` to `start + count` of splitmix64 (Steele, Lea and Flood 2014).

    `numpy.random` would add 7 MB to what the model seems to need, because it is imported when the model is already
    loaded.
    """
    state = np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64(seed % (1 << 64))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    return state ^ (state >> np.uint64(31))
