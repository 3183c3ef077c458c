"""Feature: the squared distance of inner tensors, in units of the teacher's mean square. FitNets, Romero et al. 2014 (arXiv:1412.6550).

The raw distance of the paper depends on the scale of the features: on random nets it was 60 to 3400 times the response. Divided by the
mean square it is 1 for a student that answers zero. Widths that differ go through an adapter (`edgekit.distill.adapters`).
"""

import torch
from torch.nn import functional as F

EQUAL = "all"


def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(student.float(), teacher.float()) / teacher.float().square().mean().clamp_min(1e-12)
