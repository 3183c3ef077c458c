"""Chance, drawn from the seed: what every other criterion has to beat."""

import torch

from edgekit.prune.criteria import Evidence, Scored
from edgekit.prune.graph import Graph


def score(graph: Graph, evidence: Evidence) -> Scored:
    """Scores every channel at random."""
    generator = torch.Generator().manual_seed(evidence.seed)
    return Scored(
        {root: torch.rand(group.width, generator=generator) for root, group in graph.groups.items()}
    )
