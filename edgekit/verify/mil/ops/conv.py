"""Convolution and its transpose, in one to three spatial dimensions.

Source: MIL op documentation, `conv` and `conv_transpose`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from edgekit.errors import VerificationError
from edgekit.verify.mil.ops.padding import for_torch, spatial_padding

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """Convolves `x` [N, C_in, *D] with `weight` [C_out, C_in / groups, *K] and `bias` [C_out] into [N, C_out, *D_out]."""
    rank = x.dim() - 2
    strides = strides or [1] * rank
    dilations = dilations or [1] * rank
    pads = spatial_padding(x.shape[2:], weight.shape[2:], strides, dilations, pad_type, pad)
    if pads[::2] == pads[1::2]:
        return _CONV[rank](x, weight, bias, strides, pads[::2], dilations, groups)
    return _CONV[rank](F.pad(x, for_torch(pads)), weight, bias, strides, 0, dilations, groups)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
    output_shape: list[int] | None = None,
) -> Tensor:
    """Turns `x` [N, C_in, *D], with `weight` [C_in, C_out / groups, *K], into [N, C_out, *D_out], cropped by `pad`.

    `output_shape` decides D_out where it is given; what lies beyond the last kernel position is the bias
    alone.
    """
    if pad_type not in ("valid", "custom"):
        raise VerificationError(f"conv_transpose with pad_type {pad_type!r} is not supported")
    rank = x.dim() - 2
    full = _CONV_TRANSPOSE[rank](x, weight, None, strides or 1, 0, 0, groups, dilations or 1)
    pads = pad if pad_type == "custom" and pad is not None else [0] * (2 * rank)
    crops = [-value for value in pads]
    if output_shape is not None:
        for axis, size in enumerate(output_shape[2:]):
            crops[2 * axis + 1] = size - full.shape[2 + axis] + pads[2 * axis]
    result = F.pad(full, for_torch(crops))
    return result if bias is None else result + bias.reshape([-1] + [1] * rank)


OPS: dict[str, Callable[..., Tensor]] = {"conv": conv, "conv_transpose": conv_transpose}
