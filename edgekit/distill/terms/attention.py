"""Feature: where a layer is active.

Zagoruyko and Komodakis 2016 (arXiv:1612.03928), with their sum of squares over channels. The map of [N, C, H,
W] is the mean over C of its squares; for [N, T, C] (tokens) it is the same for each token. As a unit vector
it is compared with the teacher's: the squared distance, 0 to 2. Widths need not agree. Behind a layer norm
all tokens are equally active and the term says nothing: use the module before it.
"""

import torch
from torch.nn import functional as F

EQUAL = "positions"


def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Returns the squared distance of the normalized maps."""
    return (_map(student) - _map(teacher)).square().sum(1).mean()


def _map(features: torch.Tensor) -> torch.Tensor:
    """[N, positions]."""
    over = 1 if features.dim() == 4 else -1
    return F.normalize(features.float().square().mean(over).flatten(1))
