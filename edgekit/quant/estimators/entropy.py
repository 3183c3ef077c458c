"""The range whose integers tell most about the values: least Kullback-Leibler divergence.

Migacz 2017, "8-bit Inference with TensorRT" (GTC): P is the histogram cut at the range, what lies outside added
to the last bins inside; Q is the same histogram without that, each integer's count spread evenly over the bins that
round to it. A wide range spreads, a narrow one drops: the range of least KL(P || Q) is kept. Three things differ here:

- Bins are grouped by the real integer grid, affine or symmetric, with zero on it, and each end is searched.
- Exact zeros, half of what a ReLU writes, cost nothing, since zero is on the grid; the two bins at zero therefore
  count as their outer neighbours do. Otherwise that peak, spread, would forbid every wide range.
- There are several bins an integer: 4096 over both signs, at least 1024 of them used. With as many bins as integers,
  128 in ONNX Runtime, nothing is ever spread at the full range, and it always wins.

Cost: as `_histogram`; the search takes some times longer than that of `mse`.
"""

import torch
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from edgekit.quant.estimators._grid import Grid, spec
from edgekit.quant.estimators._histogram import BINS, StreamingHistogram

fake_quantize = False


class LeastDivergence(StreamingHistogram):
    """Minimises KL(P || Q) over the bins that hold anything."""

    def errors(self, lows: torch.Tensor, highs: torch.Tensor) -> torch.Tensor:
        """Returns the divergence [K] of each of the K ranges [lows[k], highs[k]]."""
        counts, centers = self._without_zeros()
        scale, zero_point = self.scales(lows.reshape(-1, 1), highs.reshape(-1, 1))
        integers = torch.round(centers / scale) + zero_point - self.quant_min  # [K, bins], 0 is the lowest
        steps = self.quant_max - self.quant_min
        inside = (integers >= 0) & (integers <= steps)
        p = counts * inside
        q = _spread(p, inside, integers.clamp(0, steps).long(), steps + 1)
        p = _with_outliers(p, counts, integers < 0, integers > steps)
        p, q = (x / x.sum(1, keepdim=True).clamp_min(1e-300) for x in (p, q))
        divergence = torch.special.xlogy(p, p / q.where(inside, q.new_ones(()))).sum(1)
        return divergence.where(inside.any(1), divergence.new_full((), torch.inf))

    def _without_zeros(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (counts, centres) of the bins that hold anything, with the peak at zero levelled."""
        counts, middle = self.counts.clone(), BINS // 2
        counts[middle], counts[middle - 1] = self.counts[middle + 1], self.counts[middle - 2]
        if not counts.any():
            counts = self.counts
        used = counts > 0
        return counts[used], self.centers()[used]


def _spread(p: torch.Tensor, inside: torch.Tensor, integers: torch.Tensor, levels: int) -> torch.Tensor:
    """Shares every integer's count among the bins that round to it: [K, bins]."""
    empty = p.new_zeros(len(p), levels)
    total, bins = empty.scatter_add(1, integers, p), empty.scatter_add(1, integers, inside.double())
    return (total / bins.clamp_min(1)).gather(1, integers) * inside


def _with_outliers(
    p: torch.Tensor, counts: torch.Tensor, below: torch.Tensor, above: torch.Tensor
) -> torch.Tensor:
    """Adds what lies outside to the first and the last bin inside."""
    bins = p.shape[1] - 1
    p = p.scatter_add(1, below.sum(1, keepdim=True).clamp_max(bins), (counts * below).sum(1, keepdim=True))
    last = (bins - above.sum(1, keepdim=True)).clamp_min(0)
    return p.scatter_add(1, last, (counts * above).sum(1, keepdim=True))


def activation(grid: Grid) -> QuantizationSpec:
    """Returns the spec of activations on `grid`."""
    return spec(grid, LeastDivergence)
