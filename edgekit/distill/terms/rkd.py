"""Relation: how the samples of a batch are arranged.

Park et al. 2019 (arXiv:1904.05068), distance and angle weighted 1 : 2. It compares the distances between all
pairs of samples, relative to their mean, and the cosines of the angles at each sample between any two others.
Shapes need not agree at all, only the number of samples. Cost: N^3 cosines for N samples, 33 thousand for 32.
"""

import torch
from torch.nn import functional as F

EQUAL = "none"
ANGLE = 2.0


def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Returns the difference of distances and angles."""
    ours, theirs = student.float().flatten(1), teacher.float().flatten(1)
    distance = F.smooth_l1_loss(_distances(ours), _distances(theirs))
    return distance + ANGLE * F.smooth_l1_loss(_cosines(ours), _cosines(theirs))


def _distances(rows: torch.Tensor) -> torch.Tensor:
    """[N, N], relative to the mean; equal samples have distance zero, and no gradient."""
    square = (rows.unsqueeze(0) - rows.unsqueeze(1)).square().sum(2)
    apart = square > 0
    lengths = torch.where(apart, square, 1.0).sqrt() * apart
    return lengths / (lengths.sum() / apart.sum().clamp_min(1)).clamp_min(1e-12)


def _cosines(rows: torch.Tensor) -> torch.Tensor:
    """[N, N, N]: at sample i, the cosine between the directions to j and to k."""
    directions = F.normalize(rows.unsqueeze(0) - rows.unsqueeze(1), dim=2)
    return torch.bmm(directions, directions.transpose(1, 2))
