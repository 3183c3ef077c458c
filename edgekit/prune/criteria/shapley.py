"""How much the loss grows when a channel goes, averaged over which others went before: its Shapley value.

Channels can replace each other: of two that do the same either may go, but not both. A criterion that looks
at one channel at a time cannot tell; the Shapley value is the fair share of the change over all orders in
which channels could be removed (Ancona et al. 2020, arXiv:2006.01795). It is sampled: each image walks
through an order of its own, drawn at random, so one forward pass of a batch is one step in as many orders as
the batch has images. The walk ends at half of the channels, about as far as pruning goes, and takes at most
STEPS steps for a group; channels of the same step share its change.

A channel is removed by setting it to zero wherever it is read (attention layers still read it). The figures
report the standard error of the values, and "shapley noise", the error as a share of the spread between
channels: near 1 the order is chance, and more images help.

Cost: 1 + min(STEPS, width / 2) forward passes over the images for each group. ResNet-20 has nine groups
inside its blocks: 129 passes. Wide networks take hours; use another criterion for them.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from edgekit.prune.criteria import Evidence, Scored, rows, training
from edgekit.prune.graph import Graph
from edgekit.prune.groups import Group, Part, is_depthwise

log = logging.getLogger("edgekit")

STEPS = 16
FAR = 0.5  # the share of the channels that a walk removes


def score(graph: Graph, evidence: Evidence) -> Scored:
    """Scores every channel; see the head of the module."""
    loss, generator = training(evidence, "shapley"), torch.Generator().manual_seed(evidence.seed)
    scores, errors, spreads = {}, [], []
    for number, (root, group) in enumerate(graph.groups.items(), 1):
        log.info("shapley: group %d of %d, %s", number, len(graph.groups), root)
        changes = torch.cat(
            [
                _walk(graph.module, group, inputs, labels, loss, generator)
                for inputs, labels in evidence.batches
            ]
        )
        count = (~changes.isnan()).sum(0).clamp_min(1)
        mean = changes.nanmean(0).nan_to_num()
        deviation = (changes - mean).square().nanmean(0).nan_to_num().sqrt()
        scores[root] = mean
        errors.append((deviation / count.sqrt()).mean())
        spreads.append(mean.std(unbiased=False))
    error, spread = float(torch.stack(errors).mean()), float(torch.stack(spreads).mean())
    return Scored(
        scores,
        {
            "shapley standard error": (error, "loss"),
            "shapley noise": (error / max(spread, 1e-12), "ratio"),
        },
    )


def _walk(
    module: nn.Module,
    group: Group,
    inputs: tuple[torch.Tensor, ...],
    labels: Any,
    loss: Callable[[Any, Any], Any],
    generator: torch.Generator,
) -> torch.Tensor:
    """Change of the loss by channel, [images, width]; NaN for channels that an image's walk did not reach."""
    images = len(inputs[0])
    orders = torch.stack([torch.randperm(group.width, generator=generator) for _ in range(images)])
    mask = torch.ones(images, group.width)
    changes = torch.full((images, group.width), math.nan)
    with torch.no_grad(), _masked(module, group, mask):
        before = _losses(module, inputs, labels, loss)
        for gone in orders[:, : max(1, round(FAR * group.width))].tensor_split(_steps(group.width), 1):
            mask.scatter_(1, gone, 0.0)
            after = _losses(module, inputs, labels, loss)
            share = ((after - before) / gone.shape[1])[:, None].expand_as(gone)
            changes.scatter_(1, gone, share)
            before = after
    return changes


def _steps(width: int) -> int:
    return min(STEPS, max(1, round(FAR * width)))


def _losses(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any, loss: Callable[[Any, Any], Any]
) -> torch.Tensor:
    """The loss of each image on its own."""
    outputs = module(*inputs)
    values = [loss(rows(outputs, i), rows(labels, i)) for i in range(len(inputs[0]))]
    return torch.stack([torch.as_tensor(value).reshape(()) for value in values])


@contextmanager
def _masked(module: nn.Module, group: Group, mask: torch.Tensor) -> Iterator[None]:
    """Multiplies the group's channels by mask [images, width] for every layer that reads them."""
    hooks = []
    for part in group.parts:
        layer = module.get_submodule(part.layer)
        reads = part.side == "in" and isinstance(layer, nn.modules.conv._ConvNd | nn.Linear)
        if reads and not is_depthwise(layer):
            hooks.append(layer.register_forward_pre_hook(_hook(part, mask)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(part: Part, mask: torch.Tensor) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    indices, channels = torch.tensor(part.indices), torch.tensor(part.channels)

    def multiply(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, axis = args[0], -1 if isinstance(layer, nn.Linear) else 1
        factor = torch.ones(len(x), x.shape[axis])
        factor[:, indices] = mask[:, channels]
        shape = [len(x), *[1] * (x.dim() - 1)]
        shape[axis] = -1
        return (x * factor.reshape(shape), *args[1:])

    return multiply
