"""Pooling over one to three spatial dimensions. Source: MIL op documentation, `avg_pool` and `max_pool`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.verify.mil.ops.padding import for_torch, spatial_padding

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _with_ceil(sizes: list[int], kernel: list[int], strides: list[int], pads: list[int]) -> list[int]:
    """Longer padding after each axis, so that plain pooling gives the output size that ceil_mode asks for.

    As in torch, a last window that would start beyond the input and its leading padding is dropped.
    """
    result = list(pads)
    for axis, (size, width, stride) in enumerate(zip(sizes, kernel, strides, strict=True)):
        before, after = pads[2 * axis : 2 * axis + 2]
        last = math.ceil((size + before + after - width) / stride)
        if last * stride >= size + before:
            last -= 1
        result[2 * axis + 1] += max(0, last * stride + width - (size + before + after))
    return result


def max_pool(
    x: Tensor,
    kernel_sizes: list[int],
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Pools `x` [N, C, *D] into [N, C, *D_out]; padding never wins."""
    rank = len(kernel_sizes)
    strides = strides or [1] * rank
    pads = spatial_padding(x.shape[2:], kernel_sizes, strides, [1] * rank, pad_type, pad)
    if ceil_mode:
        pads = _with_ceil(list(x.shape[2:]), kernel_sizes, strides, pads)
    if any(pads):
        x = F.pad(x, for_torch(pads), value=-math.inf)
    return _MAX[rank](x, kernel_sizes, strides)


def avg_pool(
    x: Tensor,
    kernel_sizes: list[int],
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """Pools `x` [N, C, *D] into [N, C, *D_out]. What ceil_mode adds beyond the padding is never counted."""
    rank = len(kernel_sizes)
    strides = strides or [1] * rank
    pads = spatial_padding(x.shape[2:], kernel_sizes, strides, [1] * rank, pad_type, pad)
    extended = _with_ceil(list(x.shape[2:]), kernel_sizes, strides, pads) if ceil_mode else pads
    average = _AVERAGE[rank]
    if not any(extended):
        return average(x, kernel_sizes, strides)
    counted = torch.ones_like(x[:1, :1])
    if exclude_padding_from_average:
        counted = F.pad(counted, for_torch(extended))
    else:
        beyond = [e - p for e, p in zip(extended, pads, strict=True)]
        counted = F.pad(F.pad(counted, for_torch(pads), value=1.0), for_torch(beyond))
    total = average(F.pad(x, for_torch(extended)), kernel_sizes, strides)
    return total / average(counted, kernel_sizes, strides)


OPS: dict[str, Callable[..., Tensor]] = {"avg_pool": avg_pool, "max_pool": max_pool}
