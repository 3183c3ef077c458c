"""A running mean of each batch's smallest and largest value: r <- r + 0.01 (r_batch - r).

Jacob et al. 2018 (arXiv:1712.05877), section 3.1. The one estimator for training: the range follows the weights as
they move, and its fake quantization passes gradients straight through inside the range. Weights are not averaged
while calibrating. Cost: as minmax.
"""

from torchao.quantization.pt2e.fake_quantize import FusedMovingAvgObsFakeQuantize
from torchao.quantization.pt2e.observer import (
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from edgekit.quant.estimators import minmax
from edgekit.quant.estimators._grid import Grid, spec

fake_quantize = True


def activation(grid: Grid) -> QuantizationSpec:
    return spec(grid, MovingAverageMinMaxObserver)


def weight(grid: Grid) -> QuantizationSpec:
    return minmax.weight(grid)


def training_activation(grid: Grid) -> QuantizationSpec:
    return spec(grid, FusedMovingAvgObsFakeQuantize, observer=MovingAverageMinMaxObserver)


def training_weight(grid: Grid) -> QuantizationSpec:
    observer = MovingAveragePerChannelMinMaxObserver if grid.per_channel else MovingAverageMinMaxObserver
    return spec(grid, FusedMovingAvgObsFakeQuantize, observer=observer)
