"""Recurrent layers as a single node of the autograd graph while that graph is searched.

A GRU records hundreds of nodes, through which channels cannot be followed. While `opaque` is active, a
recurrent layer returns zeros of the right shape that depend on its input, and records nothing else.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn


class _Answer(torch.autograd.Function):
    """Returns zeros of a given shape that depend on x."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        return x.new_zeros(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None]:
        raise RuntimeError("this graph is only searched, never differentiated")


@contextmanager
def opaque(module: nn.Module) -> Iterator[None]:
    """Replaces every recurrent layer below `module` with a stand-in that computes nothing.

    Args:
        module: The network to be searched; it is restored on exit.
    """
    with ExitStack() as stack:
        for layer in module.modules():
            if isinstance(layer, nn.RNNBase):
                stack.enter_context(patch.object(layer, "forward", _standin(layer)))
        yield


def _standin(layer: nn.RNNBase) -> Any:
    sides = 2 if layer.bidirectional else 1
    states = getattr(layer, "proj_size", 0) or layer.hidden_size

    def forward(x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        batch = x.shape[0 if layer.batch_first else 1 : 2] if x.dim() == 3 else ()
        rows = (batch[0],) if batch else ()
        output = _Answer.apply(x, (*x.shape[:-1], sides * states))
        hidden = _Answer.apply(x, (layer.num_layers * sides, *rows, states))
        cell = _Answer.apply(x, (layer.num_layers * sides, *rows, layer.hidden_size))
        return output, (hidden, cell) if isinstance(layer, nn.LSTM) else hidden

    return forward
