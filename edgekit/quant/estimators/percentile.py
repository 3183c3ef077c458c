"""The range that holds all but the largest and the smallest 0.01 % of the values seen.

Robust against outliers without a search: at most one value in ten thousand is clipped at each end. 99.99 is the
percentile that McKinstry et al. 2018 (arXiv:1809.04191) chose and one of the four that Wu et al. 2020
(arXiv:2004.09602), section 4.1, compare. They take it of the magnitude; here each side has its own, because an
affine grid has two ends. A tensor of few values loses nothing. Cost: as `_histogram`, without the search.
"""

import torch
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from edgekit.quant.estimators._grid import Grid, spec
from edgekit.quant.estimators._histogram import BINS, StreamingHistogram

fake_quantize = False

CLIPPED_RATIO = 1e-4  # at each end


class Percentile(StreamingHistogram):
    """Ends the range where the counts beyond it are CLIPPED_RATIO of all, interpolated within a bin."""

    def best_range(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the (low, high) that leaves CLIPPED_RATIO of the counts outside at each end."""
        ends = torch.tensor([self.low, self.high], dtype=torch.float64)
        if self.limit > 0:
            beyond = [-self._where_beyond(self.counts), self._where_beyond(self.counts.flip(0))]
            ends = torch.tensor(beyond, dtype=torch.float64).clamp(*ends.tolist())
        low, high = ends
        return low.clamp(max=0.0), high.clamp(min=0.0)

    def _where_beyond(self, counts: torch.Tensor) -> float:
        """Returns how far from zero the clipped share begins, for counts that come from the end inwards."""
        clipped = CLIPPED_RATIO * counts.sum()
        beyond = counts.cumsum(0)
        first = int(torch.searchsorted(beyond, clipped, right=True))
        part = (clipped - beyond[first] + counts[first]) / counts[first]
        return self.limit - (2 * self.limit / BINS) * (first + float(part))


def activation(grid: Grid) -> QuantizationSpec:
    """Returns the spec of activations on `grid`."""
    return spec(grid, Percentile)
