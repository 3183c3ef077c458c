"""Networks in which channels get lost on their way: the groups that are found are cut, the others stay whole and are named."""

import pytest
import torch
from torch import nn

from edgekit.prune.criteria import Evidence
from edgekit.prune.graph import Graph
from edgekit.prune.shrink import Request, shrink


def layer(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.SiLU())


class C2f(nn.Module):
    """The block of YOLOv8: a split, a chain of bottlenecks, all parts joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = layer(16, 32), layer(64, 32)
        self.chain = nn.ModuleList(nn.Sequential(layer(16, 16, 3), layer(16, 16, 3)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.first(x).split((16, 16), 1))
        for bottleneck in self.chain:
            parts.append(parts[-1] + bottleneck(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Shuffled(nn.Module):
    """A unit of ShuffleNet: half of the channels pass, then both halves are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(layer(16, 32), layer(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, 1)
        x = torch.cat((left, self.branch(right)), 1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return x.reshape(batch, channels, height, width)


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(16, 32 * 16)
        self.up = nn.ConvTranspose2d(32, 16, 4, 2, 1, groups=4)
        self.out = nn.Sequential(nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.up(self.start(z).view(-1, 32, 4, 4))))


def headed(*blocks: nn.Module) -> nn.Module:
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))


IMAGE = torch.randn(1, 3, 8, 8)
NETS = {
    "c2f": (lambda: headed(layer(3, 16, 3), C2f(), layer(32, 32)), IMAGE),
    "shuffle": (lambda: headed(layer(3, 32, 3), Shuffled(), Shuffled(), layer(32, 32)), IMAGE),
    "generator": (Generator, torch.randn(1, 16)),
}


@pytest.mark.parametrize("name", NETS)
def test_the_rest_is_pruned(name: str) -> None:
    torch.manual_seed(0)
    build, x = NETS[name]
    done = shrink(build(), (x,), Request(macs=0.6), Evidence())
    assert done.macs < 0.7 * done.macs_before
    assert done.module(x).shape == build()(x).shape
    assert any("stay whole" in doubt for doubt in done.doubts)


def test_a_search_that_lost_channels_ends() -> None:
    graph = Graph(NETS["c2f"][0](), (IMAGE,), limit_s=20)
    assert {"1.chain.0.0.0", "1.chain.1.0.0"} <= set(graph.groups)
    assert graph.strange
