"""Feature: the squared distance of inner tensors, relative to the teacher's mean square.

FitNets, Romero et al. 2014 (arXiv:1412.6550). The raw distance of the paper depends on the scale of the
features: on random networks it was 60 to 3400 times the response loss. Divided by the mean square it is 1 for
a student that returns zero. Widths that differ go through an adapter (`edgekit.distill.adapters`).
"""

import torch
from torch.nn import functional as F

EQUAL = "all"


def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Returns the relative squared distance."""
    return F.mse_loss(student.float(), teacher.float()) / teacher.float().square().mean().clamp_min(1e-12)
