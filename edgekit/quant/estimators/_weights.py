"""Weight observers that look once: a weight does not change while calibrating.

`minmax` keeps the largest magnitude, of the whole tensor or of each output channel. `mse` shrinks it by the factor of
least squared error: large weights are clipped where the finer steps of all others gain more (Krishnamoorthi 2018,
arXiv:1806.08342, section 2; OCTAV and MMSE are names of the same aim). With few bits it clips much, with 7 or 8 little.
Cost of `mse`: about 25 roundings of each weight, once.
"""

import torch
from torchao.quantization.pt2e.observer import MinMaxObserver, PerChannelMinMaxObserver

#: factors tried: down to a fifth, then finer around the best
COARSE = torch.linspace(1.0, 0.2, 17).tolist()
FINE = torch.linspace(0.04, -0.04, 9).tolist()


class TensorOnce(MinMaxObserver):
    """Keeps the largest magnitude of the whole tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Observes `x` the first time only and returns it unchanged."""
        return x if torch.isfinite(self.min_val).all() else super().forward(x)


class ChannelsOnce(PerChannelMinMaxObserver):
    """Keeps the largest magnitude of each output channel [C]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Observes `x` the first time only and returns it unchanged."""
        return x if self.min_val.numel() else super().forward(x)


class TensorLeastSquares(MinMaxObserver):
    """Keeps the magnitude of least squared error for the whole tensor."""

    min_val: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Searches the magnitude the first time only and returns `x` unchanged."""
        if not torch.isfinite(self.min_val).all():
            super().forward(x)
            (limit,) = least_squares(x.detach().reshape(1, -1).float(), self.quant_max)
            self.min_val, self.max_val = -limit, limit
        return x


class ChannelsLeastSquares(PerChannelMinMaxObserver):
    """Keeps the magnitude of least squared error for each output channel [C]."""

    min_val: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Searches the magnitudes the first time only and returns `x` unchanged."""
        if not self.min_val.numel():
            super().forward(x)
            limits = least_squares(x.detach().movedim(self.ch_axis, 0).flatten(1).float(), self.quant_max)
            self.min_val, self.max_val = -limits, limits
        return x


def least_squares(rows: torch.Tensor, steps: int) -> torch.Tensor:
    """Finds the magnitude of each row that the grid represents best.

    Args:
        rows: Weights, [C, N].
        steps: How many integers the grid has on each side of zero.

    Returns:
        The magnitudes, [C].
    """
    largest = rows.abs().amax(1)
    ones = torch.ones_like(largest)
    best = _best_of([ones * factor for factor in COARSE], rows, largest, steps)
    return largest * _best_of([(best + near).clamp(max=1.0) for near in FINE], rows, largest, steps)


def _best_of(
    tried: list[torch.Tensor], rows: torch.Tensor, largest: torch.Tensor, steps: int
) -> torch.Tensor:
    """Returns for every row the factor of least squared error; the first among equals."""
    errors = torch.stack([_error(rows, factor * largest / steps, steps) for factor in tried])
    return torch.stack(tried).gather(0, errors.argmin(0, keepdim=True))[0]


def _error(rows: torch.Tensor, scales: torch.Tensor, steps: int) -> torch.Tensor:
    scales = scales.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    return ((torch.clamp(torch.round(rows / scales), -steps, steps) * scales - rows) ** 2).sum(1)


#: {name: (observer of the whole tensor, observer of each channel)}
OBSERVERS = {"minmax": (TensorOnce, ChannelsOnce), "mse": (TensorLeastSquares, ChannelsLeastSquares)}
