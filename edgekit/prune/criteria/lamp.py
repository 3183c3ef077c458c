"""The squared norm of a channel's weights as a share of what is left of its group without lesser channels.

Layer-adaptive magnitude, Lee et al. 2021 (arXiv:2010.07611). Inside a group it ranks as l2 does; it differs
where groups are ranked together. No data, no cost.
"""

from torch_pruning.pruner.importance import LAMPImportance

from edgekit.prune.criteria import Evidence, Scored, by_group
from edgekit.prune.graph import Graph


def score(graph: Graph, evidence: Evidence) -> Scored:
    """Scores every channel; see the head of the module."""
    return by_group(graph, LAMPImportance(p=2))
