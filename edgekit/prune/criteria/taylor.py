"""How much the loss would change without the channel, to first order: the sum of |weight x gradient|.

Molchanov et al. 2019 (arXiv:1906.10771), over groups. Cost: one forward and backward pass over the images;
with few images the ranking is hardly better than chance.
"""

import torch
from torch_pruning.pruner.importance import GroupTaylorImportance

from edgekit.prune.criteria import Evidence, Scored, by_group, training
from edgekit.prune.graph import Graph


def score(graph: Graph, evidence: Evidence) -> Scored:
    """Scores every channel; see the head of the module."""
    loss = training(evidence, "taylor")
    graph.module.zero_grad(set_to_none=False)
    images = sum(len(inputs[0]) for inputs, _ in evidence.batches)
    for inputs, labels in evidence.batches:
        (loss(graph.module(*inputs), labels) * len(inputs[0]) / images).backward()
    for parameter in graph.module.parameters():
        if parameter.grad is None:  # no image reaches it
            parameter.grad = torch.zeros_like(parameter)
    scored = by_group(graph, GroupTaylorImportance())
    graph.module.zero_grad()
    return scored
