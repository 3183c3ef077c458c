"""The range with the smallest squared error over everything seen. Clips outliers where that pays.

Each end of the range is shrunk in turn, and the candidate kept whose rounding and clipping error, summed over the
bins of the tensor's histogram, is least. Krishnamoorthi 2018 (arXiv:1806.08342), section 2; the same aim as
torchao's HistogramObserver, which searches greedily and re-bins approximately. Cost: as `_histogram`.
"""

import torch
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from edgekit.quant.estimators._grid import Grid, spec
from edgekit.quant.estimators._histogram import StreamingHistogram

fake_quantize = False


class LeastSquares(StreamingHistogram):
    """Minimises the squared error of rounding every bin's centre."""

    def errors(self, lows: torch.Tensor, highs: torch.Tensor) -> torch.Tensor:
        """Returns the squared error [K] of each of the K ranges [lows[k], highs[k]]."""
        used = self.counts > 0
        centers = self.centers()[used]
        scale, zero_point = self.scales(lows.reshape(-1, 1), highs.reshape(-1, 1))
        q = torch.clamp(torch.round(centers / scale) + zero_point, self.quant_min, self.quant_max)
        return (((q - zero_point) * scale - centers) ** 2) @ self.counts[used]


def activation(grid: Grid) -> QuantizationSpec:
    """Returns the spec of activations on `grid`."""
    return spec(grid, LeastSquares)
