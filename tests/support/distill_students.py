"""Nets that a distillation is given by reference."""

import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """[N, 1, 8, 8] -> [N, classes], with dropout, norms and two stages."""

    def __init__(self, width: int = 6, classes: int = 10) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(self.late(self.early(x)), 2)
        return self.head(self.drop(torch.flatten(F.avg_pool2d(x, 2), 1)))


def small() -> nn.Module:
    torch.manual_seed(3)
    return Net(6)


def other_classes() -> nn.Module:
    return Net(6, 7)
