"""Small functions on numpy arrays that tracing and verifying share."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import TaskError


def as_arrays(inputs: Iterable[Any]) -> list[np.ndarray]:
    """Converts whatever a metric hands to predict (tensors, arrays, lists) to arrays; floating ones to float32."""
    arrays = [np.asarray(value.detach() if hasattr(value, "detach") else value) for value in inputs]
    return [a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays]


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Returns a short hash of content and shape: the key under which a prediction is kept."""
    state = hashlib.blake2b(digest_size=12)
    for array in arrays:
        state.update(f"{array.shape}{array.dtype}".encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def check_shapes(arrays: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]) -> None:
    """Checks the shapes of a batch.

    Args:
        arrays: One array per input.
        shapes: The shapes of the model's own inputs.

    Raises:
        TaskError: An array is not [N, ...] of the input's shape, for any N.
    """
    if len(arrays) != len(shapes):
        raise TaskError(f"predict was called with {len(arrays)} inputs; the model takes {len(shapes)}")
    for i, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        fits = array.ndim == len(shape) and all(
            b in (-1, a) for a, b in zip(array.shape[1:], shape[1:], strict=True)
        )
        if not fits or len(array) == 0:
            wanted = ", ".join(["N", *("any" if size < 0 else str(size) for size in shape[1:])])
            raise TaskError(f"predict got input {i} of shape {list(array.shape)}; the model takes [{wanted}]")
    counts = [len(array) for array in arrays]
    if len(set(counts)) > 1:
        given = " and ".join(map(str, counts))
        raise TaskError(f"predict got inputs of {given} samples; every input needs the same number")


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz with one array per key."""
    np.savez(path, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def slice_axis(shape: Sequence[int]) -> int | None:
    """Returns the axis of an output's channels.

    It is axis 1 of [N, C, ...], the smaller of the two of [N, A, B], and the last of an image with channels last,
    [N, H, H, C]; None for [N].
    """
    if len(shape) < 2:
        return None
    if len(shape) == 3:
        return 1 if shape[1] <= shape[2] else 2
    return 3 if len(shape) == 4 and shape[1] == shape[2] != shape[3] else 1


def to_layout(array: np.ndarray, layout: str) -> np.ndarray:
    """Transposes [N, C, H, W] to [N, H, W, C] where the file wants it; every other array stays as it is."""
    return array.transpose(0, 2, 3, 1) if layout == "NHWC" and array.ndim == 4 else array


def from_layout(array: np.ndarray, layout: str) -> np.ndarray:
    """Undoes `to_layout`."""
    return array.transpose(0, 3, 1, 2) if layout == "NHWC" and array.ndim == 4 else array


def to_model(array: Any, axis: int | None) -> Any:
    """Turns samples in rows, [N, ...], into what the model takes; without an axis, the first row."""
    if axis is None:
        return array[0]
    return array if axis == 0 else np.moveaxis(array, 0, axis)


def from_model(array: np.ndarray, axis: int | None) -> np.ndarray:
    """Turns what the model answered into rows, [N, ...]; without an axis, one row."""
    if axis is None:
        return array[None]
    return array if axis == 0 else np.moveaxis(array, axis, 0)
