"""How far the weights of a channel are from those of all others: the others can replace one in their midst.

Geometric median, He et al. 2019 (arXiv:1811.00250), averaged over the layers of a group and divided by the
mean of the group. Distances are between the weights, as in the paper; Torch-Pruning measures them between
squared weights, where a filter of zeros is far from all others and is kept. No data; time and memory grow
with the square of the number of channels.
"""

import torch
from torch import nn

from edgekit.prune.criteria import Evidence, Scored
from edgekit.prune.graph import Graph
from edgekit.prune.groups import Group, Part, is_depthwise


def score(graph: Graph, evidence: Evidence) -> Scored:
    """Scores every channel; see the head of the module."""
    found = {root: _of(graph, group) for root, group in graph.groups.items()}
    return Scored({root: total / total.mean() for root, total in found.items()})


def _of(graph: Graph, group: Group) -> torch.Tensor:
    """The summed distances, averaged over layers, [width]."""
    total, layers = torch.zeros(group.width), 0
    for part in group.parts:
        layer = graph.module.get_submodule(part.layer)
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear) and not is_depthwise(layer):
            weights = _weights(layer, part)
            distances = torch.cdist(weights[None], weights[None])[0].sum(1)
            total.scatter_add_(0, torch.tensor(part.channels), distances)
            layers += 1
    return total / layers


def _weights(layer: nn.Module, part: Part) -> torch.Tensor:
    """The weights of each index of the part, one row each."""
    weight = layer.weight.detach()
    made_first = isinstance(layer, nn.Linear) or not layer.transposed
    rows = (weight if (part.side == "out") == made_first else weight.transpose(0, 1)).flatten(1)
    return rows[torch.tensor(part.indices) % len(rows)]
