"""Response: the divergence of softened classes [N, C, ...]. Hinton et al. 2015 (arXiv:1503.02531); see `edgekit.train.objective`.

Of the outputs every method takes it by itself, at its own temperature. As the term of a pair it compares inner logits, those
of auxiliary classifiers or of attention.
"""

import torch

from edgekit.train.objective import distance

EQUAL = "all"
TEMPERATURE = 4.0


def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return distance(student, teacher, TEMPERATURE)
