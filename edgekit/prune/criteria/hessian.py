"""How much the loss would grow without the channel, to second order.

The score is weight^2 x mean squared gradient of single images: optimal brain damage (LeCun et al. 1989) over
groups; squared gradients approximate the diagonal of the Hessian (Fisher information). Cost: one backward
pass for each single image. Torch-Pruning's own accumulation keeps only the last image, so the sum is computed
here.
"""

import torch
from torch_pruning.pruner.importance import GroupHessianImportance

from edgekit.prune.criteria import Evidence, Scored, by_group, rows, training
from edgekit.prune.graph import Graph


def score(graph: Graph, evidence: Evidence) -> Scored:
    """Scores every channel; see the head of the module."""
    loss = training(evidence, "hessian")
    weights = [p for p in graph.module.parameters() if p.requires_grad]
    sums = [torch.zeros_like(weight) for weight in weights]
    images = 0
    for inputs, labels in evidence.batches:
        for i in range(len(inputs[0])):
            value = loss(graph.module(*rows(inputs, i)), rows(labels, i))
            gradients = torch.autograd.grad(value, weights, allow_unused=True)
            for total, gradient in zip(sums, gradients, strict=True):
                total += 0 if gradient is None else gradient.square()
            images += 1
    for weight, total in zip(weights, sums, strict=True):
        weight.grad = total / images
    scored = by_group(graph, GroupHessianImportance())
    graph.module.zero_grad()
    return scored
