"""Operations that move data without computing: shapes, joining, cutting, padding.

Source: MIL op documentation, `tensor_transformation` and `tensor_operation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.errors import VerificationError
from edgekit.verify.mil.ops.padding import for_torch


def reshape(x: Tensor, shape: list[int]) -> Tensor:
    """Reshapes; a 0 in `shape` keeps the size of the same axis (only where the ranks agree), one -1 is inferred."""
    if 0 in shape and len(shape) != x.dim():
        raise VerificationError(f"reshape of rank {x.dim()} to {shape}: a 0 needs the same rank")
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def expand_dims(x: Tensor, axes: list[int]) -> Tensor:
    """Adds axes of size 1; `axes` count in the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: list[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def transpose(x: Tensor, perm: list[int]) -> Tensor:
    return x.permute(perm)


def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    """Joins along `axis`; scalars, which flexible shapes are made of, count as [1].

    `interleave` gives a0 b0 a1 b1 ... along `axis`.
    """
    values = [v.reshape(1) if v.dim() == 0 else v for v in values]
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def stack(values: list[Tensor], axis: int) -> Tensor:
    return torch.stack(values, axis)


def split(
    x: Tensor, axis: int, num_splits: int | None = None, split_sizes: list[int] | None = None
) -> tuple[Tensor, ...]:
    if split_sizes is not None:
        return tuple(torch.split(x, split_sizes, axis))
    if num_splits is None:
        raise VerificationError("split has neither num_splits nor split_sizes")
    return tuple(torch.tensor_split(x, num_splits, axis))


def tile(x: Tensor, reps: list[int]) -> Tensor:
    return x.repeat(reps)


def shape_of(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def fill(shape: list[int], value: Tensor) -> Tensor:
    return value.expand(shape).clone()


def reverse(x: Tensor, axes: list[int] | None = None) -> Tensor:
    return x.flip(axes if axes is not None else list(range(x.dim())))


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Turns [N, C * r^2, H, W] into [N, C, H * r, W * r]."""
    return F.pixel_shuffle(x, upscale_factor)


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """Turns [N, C, H * r, W * r] into [N, C * r^2, H, W]."""
    return F.pixel_unshuffle(x, downscale_factor)


def crop(x: Tensor, crop_height: list[int], crop_width: list[int]) -> Tensor:
    """Cuts [before, after] off the last two axes."""
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Keeps `lower` diagonals below the main one and `upper` above it; all of them where a number is negative."""
    kept = x if lower < 0 else x.triu(-lower)
    return kept if upper < 0 else kept.tril(upper)


def pad(x: Tensor, pad: list[int], mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """Pads; `pad` holds [before, after] of the last len(pad) / 2 axes."""
    pads = for_torch(pad)
    if mode == "constant":
        return F.pad(x, pads, value=constant_val)
    if mode not in ("reflect", "replicate"):
        raise VerificationError(f"pad mode {mode!r} is not supported")
    while len(pads) > 2 and pads[-2:] == [0, 0]:
        pads = pads[:-2]
    axes = len(pads) // 2  # torch wants exactly two axes before those that it pads
    flat = x.reshape((1, -1, *x.shape[x.dim() - axes :]))
    padded = F.pad(flat, pads, mode=mode)
    return padded.reshape(x.shape[: x.dim() - axes] + padded.shape[2:])


def slice_by_index(
    x: Tensor,
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Tensor:
    """Slices every axis as Python does; a set begin or end mask means from the start or to the end.

    An axis in `squeeze_mask` keeps the element at `begin` and disappears.
    """
    none = [False] * x.dim()
    steps, from_start = stride or [1] * x.dim(), begin_mask or none
    to_end, squeezed = end_mask or none, squeeze_mask or none
    for axis in range(x.dim()):
        if squeezed[axis]:
            x = x.narrow(axis, begin[axis] % x.shape[axis], 1)
            continue
        first = None if from_start[axis] else begin[axis]
        last = None if to_end[axis] else end[axis]
        kept = range(x.shape[axis])[slice(first, last, steps[axis])]
        if kept.step == 1:
            x = x.narrow(axis, kept.start if len(kept) else 0, len(kept))
        else:
            x = x.index_select(axis, torch.tensor(list(kept)))
    return x.squeeze(tuple(axis for axis in range(x.dim()) if squeezed[axis]))


def slice_by_size(x: Tensor, begin: list[int], size: list[int]) -> Tensor:
    """Slices by start and size; a size of -1 goes to the end of the axis."""
    for axis, (first, length) in enumerate(zip(begin, size, strict=True)):
        x = x.narrow(axis, first, x.shape[axis] - first if length == -1 else length)
    return x


OPS: dict[str, Callable[..., Any]] = {
    "band_part": band_part,
    "concat": concat,
    "crop": crop,
    "expand_dims": expand_dims,
    "fill": fill,
    "pad": pad,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "reshape": reshape,
    "reverse": reverse,
    "shape": shape_of,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "tile": tile,
    "transpose": transpose,
}
