"""Nets of two stages, small and large, as exported programs with the names of their modules."""

import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn import functional as F

from edgekit.quant.prepare import prepare_graph
from edgekit.quant.trainable import OneByOne, trainable


class Stages(nn.Module):
    """[N, 1, 8, 8] -> [N, 10]: stages `early` at 8x8 and `late` at 4x4."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.late(self.early(x))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def stages(width: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Stages(width)


def exported(net: nn.Module, *shape: int) -> torch.export.ExportedProgram:
    x = torch.zeros(1, *(shape or (1, 8, 8)))
    graph = torch.export.export(net.eval(), (x,)).module()
    return torch.export.export(prepare_graph(graph), (x,))


def graph(net: nn.Module, *shape: int) -> GraphModule:
    """As it trains."""
    found = trainable(exported(net, *shape).module())
    assert not isinstance(found, OneByOne)
    return found
