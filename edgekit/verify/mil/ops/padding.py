"""What convolution and pooling share: the padding that `pad_type` asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.errors import VerificationError


def spatial_padding(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pad_type: str,
    pad: Sequence[int] | None,
) -> list[int]:
    """The padding [before, after] of every spatial axis, first axis first (MIL op documentation, `conv`)."""
    if pad_type == "valid":
        return [0] * (2 * len(sizes))
    if pad_type == "custom":
        return list(pad) if pad is not None else [0] * (2 * len(sizes))
    if pad_type not in ("same", "same_lower"):
        raise VerificationError(f"pad_type {pad_type!r} is not supported")
    result = []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = (math.ceil(size / stride) - 1) * stride + (width - 1) * dilation + 1
        total = max(0, reach - size)
        small, large = total // 2, total - total // 2
        result += [large, small] if pad_type == "same_lower" else [small, large]
    return result


def for_torch(pad: Sequence[int]) -> list[int]:
    """The same padding in the order of torch.nn.functional.pad: last axis first."""
    axes = range(len(pad) // 2 - 1, -1, -1)
    return [value for axis in axes for value in pad[2 * axis : 2 * axis + 2]]
