"""A mean of each batch's smallest and largest value: what a single batch reached counts little.

While training it is a running mean, r <- r + 0.01 (r_batch - r): the range follows the weights as they move, and the fake
quantization passes gradients straight through inside it (Jacob et al. 2018, arXiv:1712.05877, section 3.1). It is the
one estimator for training. While calibrating nothing moves, so it is the plain mean over the batches. Cost: as
minmax.
"""

import torch
from torchao.quantization.pt2e.fake_quantize import FusedMovingAvgObsFakeQuantize
from torchao.quantization.pt2e.observer import (
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from edgekit.quant.estimators._finite import Sees
from edgekit.quant.estimators._flat import flat
from edgekit.quant.estimators._grid import Grid, spec

fake_quantize = True


class MeanRange(Sees, MovingAverageMinMaxObserver):
    """Keeps the mean over all batches: the n-th batch counts 1 / n."""

    one_by_one = True  # what counts as a batch changes the mean
    seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the range of `x` to the mean and returns `x` unchanged."""
        values = self.kept(flat(x))
        if values.numel():
            self.seen += 1
            self.averaging_constant = 1 / self.seen
        super().forward(values)
        return x


def activation(grid: Grid) -> QuantizationSpec:
    """Returns the spec of activations on `grid` while calibrating."""
    return spec(grid, MeanRange)


def training_activation(grid: Grid) -> QuantizationSpec:
    """Returns the spec of activations on `grid` for quantization-aware training."""
    return spec(grid, FusedMovingAvgObsFakeQuantize, observer=MovingAverageMinMaxObserver)


def training_weight(grid: Grid) -> QuantizationSpec:
    """Returns the spec of weights on `grid` for quantization-aware training."""
    observer = MovingAveragePerChannelMinMaxObserver if grid.per_channel else MovingAverageMinMaxObserver
    return spec(grid, FusedMovingAvgObsFakeQuantize, observer=observer)
