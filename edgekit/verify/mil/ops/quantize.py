"""Quantization of values that are computed. Source: MIL op documentation, iOS17 `quantization_ops`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgekit.errors import VerificationError

_RANGE = {"uint8": (0, 255, torch.uint8), "int8": (-128, 127, torch.int8)}


def along(parameter: Tensor, data: Tensor, axis: int | None) -> Tensor:
    """Shapes a vector [data.shape[axis]] so that it broadcasts along `axis` of `data`; a scalar stays as it is."""
    if parameter.dim() == 0:
        return parameter
    if axis is None:
        raise VerificationError("a scale or zero point with several values needs an axis")
    return parameter.reshape([-1 if i == axis % data.dim() else 1 for i in range(data.dim())])


def quantize(
    input: Tensor, scale: Tensor, output_dtype: str, zero_point: Tensor | None = None, axis: int | None = None
) -> Tensor:
    """Computes clip(round(input / scale) + zero_point); halves are rounded to even."""
    if output_dtype not in _RANGE:
        raise VerificationError(f"quantize to {output_dtype!r} is not supported; known: {sorted(_RANGE)}")
    low, high, dtype = _RANGE[output_dtype]
    levels = torch.round(input / along(scale, input, axis))
    if zero_point is not None:
        levels = levels + along(zero_point.float(), input, axis)
    return levels.clamp(low, high).to(dtype)


def dequantize(
    input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int | None = None
) -> Tensor:
    """Computes scale * (input - zero_point)."""
    levels = input.float()
    if zero_point is not None:
        levels = levels - along(zero_point.float(), input, axis)
    return levels * along(scale, input, axis)


OPS: dict[str, Callable[..., Tensor]] = {"dequantize": dequantize, "quantize": quantize}
