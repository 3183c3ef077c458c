"""constexpr_*: weights stored compressed, and decompressed once when the program is loaded.

Source: MIL op documentation, iOS16 `constexpr_ops` and iOS18 `compression`. Where the two operation sets
differ, the iOS16 form is the one with a `shape`: its indices and masks are packed bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import VerificationError
from edgekit.verify.mil.ops.quantize import along
from edgekit.verify.mil.values import unpack_bits


def affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    """Computes scale * (quantized_data - zero_point)."""
    levels = quantized_data.float() - along(zero_point.float(), quantized_data, axis)
    return levels * along(scale, quantized_data, axis)


def blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """Computes scale * (data - offset), where each value of scale and offset covers a block of `data`."""
    levels = data.float()
    if offset is not None:
        levels = levels - _stretch(offset.float(), data)
    return levels * _stretch(scale, data)


def _stretch(parameter: Tensor, data: Tensor) -> Tensor:
    """Repeats every value of `parameter` over its block of `data`."""
    for axis, size in enumerate(data.shape):
        block = size // parameter.shape[axis]
        if block > 1:
            parameter = parameter.repeat_interleave(block, axis)
    return parameter


def lut_to_dense(
    indices: Tensor, lut: Tensor, shape: list[int] | None = None, vector_axis: int | None = None
) -> Tensor:
    """Looks the values up. iOS16: packed indices, lut [2^bits], shape. iOS18: indices [*D], lut [*groups, 2^bits, 1]."""
    if shape is not None:
        bits = int(math.log2(len(lut)))
        flat = unpack_bits(indices.numpy(), bits, math.prod(shape))
        return lut[torch.from_numpy(flat).long()].reshape(shape)
    if lut.shape[-1] != 1:
        raise VerificationError("a table of vectors (vector palettization) is not supported")
    tables = lut[..., 0]
    for axis, size in enumerate(indices.shape):
        if 1 < tables.shape[axis] < size:
            tables = tables.repeat_interleave(size // tables.shape[axis], axis)
    return torch.gather(tables.expand(*indices.shape, -1), -1, indices.long()[..., None])[..., 0]


def sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: list[int] | None = None) -> Tensor:
    """Puts the values, in order, where the mask is set; zero elsewhere. iOS16: packed mask and shape."""
    if shape is not None:
        mask = torch.from_numpy(unpack_bits(mask.numpy(), 1, math.prod(shape))).reshape(shape)
    result = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    result[mask.bool()] = nonzero_data
    return result


def lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the mask, and the values that the indices at its set places stand for."""
    dense = lut_to_dense(sparse_to_dense(indices_nonzero_data, indices_mask), lut)
    return indices_mask, dense[indices_mask.bool()]


OPS: dict[str, Callable[..., Any]] = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_lut_to_sparse": lut_to_sparse,
    "constexpr_sparse_to_dense": sparse_to_dense,
}
