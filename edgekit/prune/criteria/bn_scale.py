"""The scale that a batch norm applies to the channel: network slimming, Liu et al. 2017 (arXiv:1708.06519).

Meant for networks that were trained with a penalty on these scales; for others the ranking is close to
chance. Groups without a batch norm are left whole. No data, no cost.
"""

from torch_pruning.pruner.importance import BNScaleImportance

from edgekit.prune.criteria import Evidence, Scored, by_group
from edgekit.prune.graph import Graph


def score(graph: Graph, evidence: Evidence) -> Scored:
    """Scores every channel; see the head of the module."""
    return by_group(graph, BNScaleImportance())
