"""The squared norm of a channel's weights, in all layers of its group, divided by the mean of the group.

Group magnitude of Fang et al. 2023 (arXiv:2301.12900), after Li et al. 2017 (arXiv:1608.08710). No data, no
cost: the one to begin with.
"""

from torch_pruning.pruner.importance import GroupMagnitudeImportance

from edgekit.prune.criteria import Evidence, Scored, by_group
from edgekit.prune.graph import Graph


def score(graph: Graph, evidence: Evidence) -> Scored:
    """Scores every channel; see the head of the module."""
    return by_group(graph, GroupMagnitudeImportance(p=2))
