"""The factor that a batch norm multiplies the channel with: network slimming, Liu et al. 2017 (arXiv:1708.06519).

Meant for nets that were trained with a penalty on these factors; others rank as by chance. Groups without a batch norm are left
whole. No data, no cost.
"""

from torch_pruning.pruner.importance import BNScaleImportance

from edgekit.prune.criteria import Evidence, Scored, by_group
from edgekit.prune.graph import Graph


def score(graph: Graph, evidence: Evidence) -> Scored:
    return by_group(graph, BNScaleImportance())
