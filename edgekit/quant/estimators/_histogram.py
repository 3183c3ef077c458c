"""One histogram per tensor that a stream of batches adds to, and the search of a range on it.

Its bins are aligned to zero, so that when a larger value comes, two neighbours merge into one exactly: nothing seen
before is smeared, and memory stays at BINS numbers however many batches come. `mse`, `percentile` and `entropy`
choose a range from it at the end; zero is always inside. Of a large tensor at most SAMPLES values are counted, evenly
spread and others each time: a hundred inputs still make a million counts, enough for the shape of a distribution, and
a value too rare to be met weighs nothing in any of the three choices.

Cost: a pass over SAMPLES values of each tensor, some milliseconds per tensor at the end.
"""

from typing import Any

import torch
from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase

from edgekit.quant.estimators._finite import Sees
from edgekit.quant.estimators._flat import flat, part

BINS = 4096  # half of them below zero
SAMPLES = 1 << 14  # values counted of one tensor, each time
#: each round tries factors around the best so far: (half width, how many), coarse, then to one hundredth
ROUNDS = ((0.75, 31), (0.05, 11), (0.05, 11))


class StreamingHistogram(Sees, UniformQuantizationObserverBase):
    """Counts values in BINS equal bins over [-limit, limit].

    `limit` only ever doubles; `low` and `high` are the smallest and the largest value seen.
    """

    counts: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("counts", torch.zeros(BINS, dtype=torch.float64))
        self.limit = self.low = self.high = 0.0
        self.seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the values of `x` to the histogram and returns `x` unchanged."""
        if x.numel() == 0:
            return x
        self.seen += 1
        values = flat(x)
        sample = self.kept(values[part(len(values), SAMPLES, self.seen)].float().contiguous())
        if not sample.numel():
            return x
        low, high = (float(end) for end in torch.aminmax(sample))
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(-low, high))
        if self.limit > 0:
            bins = (sample * (BINS / 2 / self.limit) + BINS / 2).int().clamp_(0, BINS - 1)
            self.counts += torch.bincount(bins, minlength=BINS)
        return x

    def _grow(self, largest: float) -> None:
        if self.limit == 0:
            self.limit = largest
        while self.limit < largest:
            merged = self.counts.view(-1, 2).sum(1)
            self.counts.zero_()
            self.counts[BINS // 4 : BINS // 4 + BINS // 2] = merged
            self.limit *= 2

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the scale and zero point of the best range."""
        low, high = self.best_range()
        return self._calculate_qparams(low.float(), high.float())

    def best_range(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the (low, high) of least `errors` within what was seen, low <= 0 <= high.

        Each end is shrunk in turn, both at once on a symmetric grid; among equals the widest range wins.
        """
        ends = torch.tensor([self.low, self.high], dtype=torch.float64)
        if self.limit == 0:
            return ends[0], ends[1]
        sides: tuple[list[int], ...] = ([1], [0])
        if self.qscheme == torch.per_tensor_symmetric:
            ends, sides = ends.abs().max() * ends.new_tensor([-1.0, 1.0]), ([0, 1],)
        factors = torch.ones(2, dtype=torch.float64)
        for half_width, count in ROUNDS:
            around = torch.linspace(half_width, -half_width, count, dtype=torch.float64)
            for side in (side for side in sides if ends[side].any()):
                tried = factors.repeat(count, 1)
                tried[:, side] = (tried[:, side] + around[:, None]).clamp(0.2, 1.0)
                factors = tried[int(self.errors(*(tried * ends).T).argmin())]
        low, high = ends * factors
        return low, high

    def errors(self, lows: torch.Tensor, highs: torch.Tensor) -> torch.Tensor:
        """Returns what the estimator minimises, [K], for the K ranges [lows[k], highs[k]]."""
        raise NotImplementedError

    def centers(self) -> torch.Tensor:
        """Returns the centre of each bin, [BINS]."""
        return (torch.arange(BINS, dtype=torch.float64) + 0.5) * (2 * self.limit / BINS) - self.limit

    def scales(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (scale, zero point) of ranges, as `calculate_qparams` will choose them."""
        steps = self.quant_max - self.quant_min
        if self.qscheme == torch.per_tensor_symmetric:
            scale = torch.maximum(-low, high) / (steps / 2)
            zero = torch.full_like(scale, float((self.quant_min + self.quant_max + 1) // 2))
            return scale.clamp_min(float(self.eps)), zero
        scale = ((high - low) / steps).clamp_min(float(self.eps))
        return scale, torch.clamp(self.quant_min - torch.round(low / scale), self.quant_min, self.quant_max)
