"""Averaged weights: after each update average <- decay * average + (1 - decay) * weights.

An average over the last 1 / (1 - decay) updates lies in a flatter place than the last of them, and is less noisy (Polyak and
Juditsky 1992; Tarvainen and Valpola 2017, arXiv:1703.01780). At the beginning the decay is (1 + n) / (10 + n), so
that the first weights are soon forgotten. Buffers, such as the statistics of batch norms, are averages already and
are not averaged again. Cost: a second copy of the weights and one pass over them at each update.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


@torch.no_grad()
def follow(average: Mapping[str, torch.Tensor], model: nn.Module, decay: float, updates: int) -> None:
    """One update, the `updates`-th, of averaged parameters by name."""
    decay = min(decay, (1 + updates) / (10 + updates))
    for name, parameter in model.named_parameters():
        if name in average:
            average[name].mul_(decay).add_(parameter.detach(), alpha=1 - decay)


class Average:
    """The averaged parameters of `model`, by name; sharded where the model's are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.tensors = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    def update(self, model: nn.Module) -> None:
        self.updates += 1
        follow(self.tensors, model, self.decay, self.updates)

    @torch.no_grad()
    def exchange(self, model: nn.Module) -> None:
        """The model gets the average, and the average keeps the model's weights: twice is as before."""
        for name, parameter in model.named_parameters():
            if name in self.tensors:
                kept = parameter.detach().clone()
                parameter.copy_(self.tensors[name])
                self.tensors[name].copy_(kept)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model with the averaged weights, as long as this lasts."""
        self.exchange(model)
        try:
            yield
        finally:
            self.exchange(model)
