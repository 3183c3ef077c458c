"""Resizing of the last two axes. Source: MIL op documentation, `image_resizing`.

Bilinear resizing is separable: for each axis, a grid of places in the input, then a blend of two neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.errors import VerificationError


def _grid(size: int, wanted: int, mode: str) -> Tensor:
    """Gives [wanted] places in 0 ... size - 1, in float64, by the formulas of `resize_bilinear`."""
    i = torch.arange(wanted, dtype=torch.float64)
    if mode == "ALIGN_CORNERS" and wanted == 1:
        places = i + (size - 1) / 2
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        places = i * ((size - 1) / max(wanted - 1, 1))
    elif mode == "DEFAULT":
        places = i * (size / wanted)
    elif mode == "UNALIGN_CORNERS":
        places = (i + 0.5) * (size / wanted) - 0.5
    else:
        raise VerificationError(f"sampling mode {mode!r} is not supported")
    return places.clamp(0, size - 1)


def _blend(x: Tensor, axis: int, places: Tensor) -> Tensor:
    low = places.floor().long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    share = (places - low).float().reshape([-1] + [1] * (-axis - 1))
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share


def _bilinear(x: Tensor, height: int, width: int, mode: str) -> Tensor:
    rows = _blend(x, -2, _grid(x.shape[-2], height, mode))
    return _blend(rows, -1, _grid(x.shape[-1], width, mode))


def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """Resizes [..., H, W] to [..., target_size_height, target_size_width]."""
    return _bilinear(x, target_size_height, target_size_width, sampling_mode)


def _scaled(size: int, factor: float) -> int:
    """Computes floor(size * factor); the factor is a float32, which may lie just below the quotient that was meant."""
    return int(size * factor + 1e-4)


def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """Resizes [..., H, W] to [..., floor(H * scale_factor_height), floor(W * scale_factor_width)].

    Without half_pixel_centers the grid is that of align_corners=False in the iOS15 operation: half-pixel
    centres.
    """
    height, width = _scaled(x.shape[-2], scale_factor_height), _scaled(x.shape[-1], scale_factor_width)
    if align_corners:
        return _bilinear(x, height, width, "ALIGN_CORNERS")
    half = half_pixel_centers is None or half_pixel_centers
    return _bilinear(x, height, width, "UNALIGN_CORNERS" if half else "DEFAULT")


def _nearest(x: Tensor, height: int, width: int) -> Tensor:
    for axis, wanted in ((-2, height), (-1, width)):
        size = x.shape[axis]
        x = x.index_select(axis, torch.arange(wanted) * size // wanted)
    return x


def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """Resizes [..., H, W] to [..., target_size_height, target_size_width]."""
    return _nearest(x, target_size_height, target_size_width)


def upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1
) -> Tensor:
    """Resizes [..., H, W] to [..., floor(H * scale_factor_height), floor(W * scale_factor_width)]."""
    return _nearest(x, _scaled(x.shape[-2], scale_factor_height), _scaled(x.shape[-1], scale_factor_width))


_RESAMPLE_PADS = {"constant": "zeros", "border": "border", "reflection": "reflection"}


def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """Samples [N, C, H, W] at `coordinates` [N, H2, W2, (x, y)] into [N, C, H2, W2]."""
    known = coordinates_mode == "normalized_minus_one_to_one" and padding_mode in _RESAMPLE_PADS
    if not known or (padding_mode == "constant" and padding_value):
        raise VerificationError(
            f"resample with {coordinates_mode!r} and padding {padding_mode!r} of {padding_value} is not supported"
        )
    return F.grid_sample(x, coordinates.float(), sampling_mode, _RESAMPLE_PADS[padding_mode], align_corners)


OPS: dict[str, Callable[..., Tensor]] = {
    "resample": resample,
    "resize_bilinear": resize_bilinear,
    "resize_nearest_neighbor": resize_nearest_neighbor,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
