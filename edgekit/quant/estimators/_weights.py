"""Weight observers that look once: a weight does not change while calibrating."""

import torch
from torchao.quantization.pt2e.observer import MinMaxObserver, PerChannelMinMaxObserver


class TensorOnce(MinMaxObserver):
    """The largest magnitude of the whole tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if torch.isfinite(self.min_val).all() else super().forward(x)


class ChannelsOnce(PerChannelMinMaxObserver):
    """The largest magnitude of each output channel [C]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.min_val.numel() else super().forward(x)
