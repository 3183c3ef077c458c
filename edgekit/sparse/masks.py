"""Masks in a training graph: each weight passes through a module that keeps some of it and zeroes the rest.

In the forward pass the layer sees exact zeros; in the backward pass a masked weight gets no gradient. The
mask is a buffer, so checkpoints hold it and a killed training resumes with the same one. What is masked stays
masked under "magnitude", since zero is the smallest magnitude; under "movement" it may return.

movement (Sanh et al. 2020, "Movement Pruning", arXiv:2005.07683, section 4): the score of weight w is minus
the sum over steps of dL/dw' * w, where w' is the masked weight: what training moves towards zero scores low,
whatever its size. The sum includes masked weights, by the straight-through estimator.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.fx import GraphModule

from edgekit.quant import tensors
from edgekit.quant.trainable import OneByOne
from edgekit.sparse.layers import Layer
from edgekit.sparse.patterns import Pattern, Scope, select

Criterion = Literal["magnitude", "movement"]


class Mask(nn.Module):
    """Passes on what is kept of a weight.

    Attributes:
        kept: Which weights stay.
        score: The sum that "movement" accumulates; None for "magnitude".
    """

    kept: torch.Tensor
    score: torch.Tensor | None

    def __init__(self, shape: Sequence[int], criterion: Criterion) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(*shape, dtype=torch.bool))
        self.register_buffer("score", torch.zeros(*shape) if criterion == "movement" else None)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Returns the weight with zeros where it is masked; under "movement" the backward pass adds to the score."""
        masked = weight * self.kept
        if self.training and self.score is not None and masked.requires_grad:
            masked.register_hook(partial(_moved, self.score, weight.detach()))
        return masked

    def worth(self, weight: torch.Tensor) -> torch.Tensor:
        """Returns the score of each weight; the lowest go first."""
        return self.score if self.score is not None else (weight * self.kept).abs()


class Masks:
    """All masks of a training graph, in its layers' order."""

    def __init__(self, model: GraphModule | OneByOne, layers: Sequence[Layer], criterion: Criterion) -> None:
        """Inserts a mask that keeps everything behind every reader of the layers' weights.

        Args:
            model: The training graph, which is changed in place.
            layers: The layers to mask.
            criterion: "magnitude" or "movement".
        """
        self._graph = model.graph if isinstance(model, OneByOne) else model
        self.layers = list(layers)
        self.masks = [_insert(self._graph, layer, i, criterion) for i, layer in enumerate(layers)]

    def weights(self) -> list[torch.Tensor]:
        """Returns the weights as stored; where they are masked the values mean nothing."""
        return [tensors.read(self._graph, layer.path) for layer in self.layers]

    def scores(self) -> list[torch.Tensor]:
        """Returns the score of each weight of each layer."""
        return [mask.worth(w) for mask, w in zip(self.masks, self.weights(), strict=True)]

    def renew(self, pattern: Pattern, sparsity: float, scope: Scope) -> None:
        """Masks a share `sparsity` of the weights, those with the lowest scores."""
        self.put(select(self.scores(), pattern, sparsity, scope))

    def put(self, kept: Sequence[torch.Tensor]) -> None:
        """Sets all masks."""
        for mask, value in zip(self.masks, kept, strict=True):
            mask.kept.copy_(value)

    @torch.no_grad()
    def write(self, graph: GraphModule) -> None:
        """Zeroes what is masked in the graph that the training graph was made from."""
        for layer, mask in zip(self.layers, self.masks, strict=True):
            weight = tensors.read(graph, layer.path)
            tensors.write(graph, layer.path, weight.masked_fill(~mask.kept.to(weight.device), 0.0))


def _moved(score: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor) -> None:
    score.sub_(gradient * weight)


def _insert(graph: GraphModule, layer: Layer, number: int, criterion: Criterion) -> Mask:
    mask, name = Mask(layer.shape, criterion), f"_mask_{number}"
    graph.add_submodule(name, mask)
    for node in [n for n in graph.graph.nodes if n.op == "get_attr" and n.target == layer.path]:
        with graph.graph.inserting_after(node):
            call = graph.graph.call_module(name, (node,))
        node.replace_all_uses_with(call, delete_user_cb=lambda user, call=call: user is not call)
        call.meta = dict(node.meta)
    graph.recompile()
    return mask
