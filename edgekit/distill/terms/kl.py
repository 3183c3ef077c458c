"""Response: the divergence of softened classes [N, C, ...]. Hinton et al. 2015 (arXiv:1503.02531).

Every method compares the outputs this way, at its own temperature (`edgekit.train.objective`). As the term of
a pair it compares inner logits, those of auxiliary classifiers or of attention.
"""

import torch

from edgekit.train.objective import distance

EQUAL = "all"
TEMPERATURE = 4.0


def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Returns the divergence at TEMPERATURE."""
    return distance(student, teacher, TEMPERATURE)
