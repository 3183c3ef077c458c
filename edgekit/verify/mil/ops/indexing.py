"""Reading and writing at computed places. Negative indices count from the end; others are checked by torch.

Source: MIL op documentation, `scatter_gather`. `validate_indices` changes nothing: indices are always
checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.errors import VerificationError


def _wrapped(indices: Tensor, size: int) -> Tensor:
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


def gather(
    x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False
) -> Tensor:
    """Takes `x` [*A, D, *B] with D at `axis` and `indices` [*I]; returns [*A, *I, *B]."""
    if batch_dims:
        raise VerificationError("gather with batch_dims is not supported")
    axis %= x.dim()
    places = _wrapped(indices, x.shape[axis])
    rows = x.index_select(axis, places.reshape(-1))
    return rows.reshape(x.shape[:axis] + places.shape + x.shape[axis + 1 :])


def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False) -> Tensor:
    return torch.gather(x, axis, _wrapped(indices, x.shape[axis]))


def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """Writes `updates` [*A, I, *B] into `data` [*A, D, *B] at `indices` [I] of D; mode "add" adds them instead."""
    if indices.dim() > 1 or mode not in ("add", "update"):
        raise VerificationError(
            f"scatter with mode {mode!r} and indices of rank {indices.dim()} is not supported"
        )
    places = _wrapped(indices.reshape(-1), data.shape[axis])
    updates = updates.reshape(
        [len(places) if i == axis % data.dim() else n for i, n in enumerate(data.shape)]
    )
    if mode == "add":
        return data.index_add(axis, places, updates)
    return data.index_copy(axis, places, updates)


def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """Writes each update into `data` at its index along `axis`; mode "add" adds it instead."""
    places = _wrapped(indices, data.shape[axis])
    if mode == "update":
        return data.scatter(axis, places, updates)
    if mode == "add":
        return data.scatter_add(axis, places, updates)
    raise VerificationError(f"scatter_along_axis with mode {mode!r} is not supported")


def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """Takes `x` [*D, *B] at `indices` [*I, len(D)]; returns [*I, *B]."""
    if batch_dims:
        raise VerificationError("gather_nd with batch_dims is not supported")
    return x[_places(x, indices)]


def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    """Writes `updates` [*I, *B] into `data` [*D, *B] at `indices` [*I, len(D)]; mode "add" adds them instead."""
    if mode not in ("add", "update"):
        raise VerificationError(f"scatter_nd with mode {mode!r} is not supported")
    return data.index_put(_places(data, indices), updates, accumulate=mode == "add")


def _places(x: Tensor, indices: Tensor) -> tuple[Tensor, ...]:
    return tuple(_wrapped(index, size) for index, size in zip(indices.unbind(-1), x.shape, strict=False))


def non_zero(x: Tensor) -> Tensor:
    """Returns the places of the numbers that are not zero, [N, rank]; N depends on the values."""
    return x.nonzero().int()


def one_hot(
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    hot = F.one_hot(indices.long(), one_hot_vector_size).bool().movedim(-1, axis)
    on = on_value if on_value is not None else torch.tensor(1, dtype=torch.int32)
    off = off_value if off_value is not None else torch.tensor(0, dtype=torch.int32)
    return torch.where(hot, on, off)


def range_1d(end: Tensor, start: Tensor, step: Tensor) -> Tensor:
    """Counts from `start` by `step` to below `end`."""
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def classify(probabilities: Tensor, classes: list[str]) -> tuple[Tensor, Tensor]:
    """The label, here as its number, and the probabilities in the order of the labels."""
    row = probabilities.reshape(-1)
    if len(row) != len(classes):
        raise VerificationError(f"classify has {len(classes)} classes for {len(row)} probabilities")
    return row.argmax(), row


OPS: dict[str, Callable[..., Any]] = {
    "classify": classify,
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "non_zero": non_zero,
    "one_hot": one_hot,
    "range_1d": range_1d,
    "scatter": scatter,
    "scatter_along_axis": scatter_along_axis,
    "scatter_nd": scatter_nd,
}
