"""Feature: where a layer is active. Zagoruyko and Komodakis 2016 (arXiv:1612.03928), their sum of squares over channels.

The map of [N, C, H, W] is the mean over C of its squares, of [N, T, C] (tokens) the same for each token; as a vector of
length 1 it is compared with the teacher's: the squared distance, 0 to 2. Widths need not agree. Behind a layer norm all tokens are as active
as each other and it says nothing: take the module before.
"""

import torch
from torch.nn import functional as F

EQUAL = "positions"


def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return (_map(student) - _map(teacher)).square().sum(1).mean()


def _map(features: torch.Tensor) -> torch.Tensor:
    """[N, positions]."""
    over = 1 if features.dim() == 4 else -1
    return F.normalize(features.float().square().mean(over).flatten(1))
