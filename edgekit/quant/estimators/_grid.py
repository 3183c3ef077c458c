"""The integer grids a profile allows, and the pt2e specs made of a grid and an observer.

A float r is stored as the integer q = clamp(round(r / scale) + zero_point, low, high). Zero is always on the grid,
because padding writes it. Weights are symmetric and narrow: b bits hold [-(2^(b-1) - 1), 2^(b-1) - 1], so that
-128 never appears (two products of 255 * -128 overflow the 16-bit sums of x86 without VNNI).
"""

from typing import Any

import torch
from torchao.quantization.pt2e.quantizer import FixedQParamsQuantizationSpec, QuantizationSpec

from edgekit.records import Quant, Record

#: the smallest scale: a constant tensor must not divide by zero, and ONNX wants a normal float
EPS = 2.0**-20


class Grid(Record):
    """The integers that a tensor may be stored as.

    Attributes:
        storage: The type of the stored integers, "uint8" or "int8".
        low: The lowest integer allowed.
        high: The highest integer allowed.
        symmetric: Whether the range is symmetric around zero.
        per_channel: Whether each output channel has a scale of its own.
    """

    storage: str
    low: int
    high: int
    symmetric: bool
    per_channel: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The torch type of the stored integers."""
        return torch.uint8 if self.storage == "uint8" else torch.int8

    @property
    def qscheme(self) -> torch.qscheme:
        """The torch scheme: affine or symmetric, per tensor or per channel."""
        if self.per_channel:
            return torch.per_channel_symmetric
        return torch.per_tensor_symmetric if self.symmetric else torch.per_tensor_affine


def activation_grid(quant: Quant) -> Grid:
    """Returns the grid of activations that a profile allows."""
    low, high = (0, 255) if quant.activation_dtype == "uint8" else (-128, 127)
    return Grid(storage=quant.activation_dtype, low=low, high=high, symmetric=quant.symmetric_activations)


def weight_grid(quant: Quant) -> Grid:
    """Returns the grid of weights that a profile allows: symmetric and narrow."""
    limit = 2 ** (quant.weight_bits - 1) - 1
    per_channel = quant.granularity == "per_channel"
    return Grid(storage="int8", low=-limit, high=limit, symmetric=True, per_channel=per_channel)


def spec(grid: Grid, kind: Any, /, **choices: Any) -> QuantizationSpec:
    """Makes a pt2e spec of a grid and an observer.

    Args:
        grid: The integers allowed.
        kind: A class of observers with torchao's `with_args`.
        choices: Arguments of that class.
    """
    return QuantizationSpec(
        dtype=grid.dtype,
        quant_min=grid.low,
        quant_max=grid.high,
        qscheme=grid.qscheme,
        ch_axis=0 if grid.per_channel else None,
        observer_or_fake_quant_ctr=kind.with_args(eps=EPS, **choices),
    )


def fixed(grid: Grid, scale: float, zero: int) -> FixedQParamsQuantizationSpec:
    """Makes the spec of a grid that needs no observing.

    Args:
        grid: The integers allowed.
        scale: The step of the grid.
        zero: How many steps zero lies above the lowest integer.
    """
    return FixedQParamsQuantizationSpec(
        dtype=grid.dtype,
        scale=scale,
        zero_point=grid.low + zero,
        quant_min=grid.low,
        quant_max=grid.high,
        qscheme=torch.per_tensor_affine,
    )
