"""How far a channel's weights are from all others of its layer: one in their midst can be made up for by them.

Geometric median, He et al. 2019 (arXiv:1811.00250). No data; time and memory grow with the square of the channels.
"""

from torch_pruning.pruner.importance import FPGMImportance

from edgekit.prune.criteria import Evidence, Scored, by_group
from edgekit.prune.graph import Graph


def score(graph: Graph, evidence: Evidence) -> Scored:
    return by_group(graph, FPGMImportance(p=2))
