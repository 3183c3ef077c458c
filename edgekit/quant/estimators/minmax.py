"""The smallest and the largest value seen. Nothing is clipped; one outlier makes every step coarse.

Jacob et al. 2018 (arXiv:1712.05877), section 3. Cost: one pass over each tensor, two numbers of memory.
"""

import torch
from torchao.quantization.pt2e.observer import MinMaxObserver
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from edgekit.quant.estimators._finite import Sees
from edgekit.quant.estimators._flat import flat
from edgekit.quant.estimators._grid import Grid, spec

fake_quantize = False


class FullRange(Sees, MinMaxObserver):
    """torchao's MinMaxObserver, for tensors in any layout."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Widens the range by the values of `x` and returns `x` unchanged."""
        super().forward(self.kept(flat(x)))
        return x


def activation(grid: Grid) -> QuantizationSpec:
    """Returns the spec of activations on `grid`."""
    return spec(grid, FullRange)
