"""Averaged weights: after each update average <- decay * average + (1 - decay) * weights.

An average over the last 1 / (1 - decay) updates lies in a flatter region than the last weights, and is less
noisy (Polyak and Juditsky 1992; Tarvainen and Valpola 2017, arXiv:1703.01780). In the beginning the decay is
(1 + n) / (10 + n), so that the first weights are soon forgotten. Buffers, such as batch norm statistics, are
averages already and are not averaged again. Cost: a second copy of the weights and one pass over them for
each update.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


@torch.no_grad()
def follow(average: Mapping[str, torch.Tensor], model: nn.Module, decay: float, updates: int) -> None:
    """Averages a model's parameters in.

    Args:
        average: The averaged parameters, by name, which are updated in place.
        model: The model.
        decay: The decay of the average.
        updates: The number of this update.
    """
    decay = min(decay, (1 + updates) / (10 + updates))
    for name, parameter in model.named_parameters():
        if name in average:
            average[name].mul_(decay).add_(parameter.detach(), alpha=1 - decay)


class Average:
    """The averaged parameters of a model, by name; sharded where the model's are.

    Args:
        model: The model, whose weights are the first average.
        decay: The decay of the average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.tensors = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    def update(self, model: nn.Module) -> None:
        """Averages the current weights in."""
        self.updates += 1
        follow(self.tensors, model, self.decay, self.updates)

    @torch.no_grad()
    def exchange(self, model: nn.Module) -> None:
        """Swaps the weights of the model and the average; doing it twice restores both."""
        for name, parameter in model.named_parameters():
            if name in self.tensors:
                kept = parameter.detach().clone()
                parameter.copy_(self.tensors[name])
                self.tensors[name].copy_(kept)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Gives the model the averaged weights within a with block."""
        self.exchange(model)
        try:
            yield
        finally:
            self.exchange(model)
