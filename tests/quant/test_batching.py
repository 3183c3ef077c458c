"""Graphs are widened only where samples cannot meet; then every sample has the answer that it has alone."""

import pytest
import torch
from quant_nets import build, traced
from torch import nn
from torch.nn import functional as F

from edgekit.quant.batching import MOST, widen


class Mixing(nn.Module):
    """One operator for which samples meet, or may."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.token = kind, nn.Parameter(torch.ones(1, 3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "mean of all":
            return x - x.mean()
        if self.kind == "flat":
            return F.relu(x.flatten())
        if self.kind == "attention":
            return x @ x.transpose(1, 2)
        if self.kind == "class token":
            return torch.cat([self.token, x], 1)
        return torch.cat([x, x], 0)


class Apart(nn.Module):
    """The shapes that convolutional nets write down."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(14, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.hardswish(self.conv(F.pad(x, [0, 1, 0, 1])))
        x = torch.cat([x, x[:, :2] * x.mean((2, 3), keepdim=True)[:, :2], F.sigmoid(x)], 1)
        return self.fc(torch.cat([F.adaptive_avg_pool2d(x, 1).view(1, -1), x.mean([2, 3])[:, :4]], 1))


@pytest.mark.parametrize("name", ["residual", "apart"])
def test_convolutional_nets_answer_several_samples_as_one_by_one(name: str) -> None:
    model, x = build(name) if name == "residual" else (Apart().eval(), torch.randn(1, 3, 8, 8))
    module = traced(model, x).module()
    for node in [node for node in module.graph.nodes if node.op == "call_module"]:
        module.graph.erase_node(node)  # the guards, which know one shape
    assert widen(module) == MOST
    module.recompile()
    many = torch.randn(5, *x.shape[1:])
    with torch.no_grad():
        assert torch.allclose(module(many), torch.cat([model(row[None]) for row in many]), atol=1e-5)


@pytest.mark.parametrize("kind", ["mean of all", "flat", "attention", "class token", "stacked"])
def test_samples_that_may_meet_stay_apart(kind: str) -> None:
    assert widen(traced(Mixing(kind), torch.randn(1, 3, 4)).module()) == 1


def test_a_program_for_several_samples_is_left_alone() -> None:
    assert widen(traced(nn.Linear(4, 2), torch.randn(2, 4)).module()) == 1


def test_large_images_go_through_alone() -> None:
    net = nn.Conv2d(3, 64, 3, padding=1)
    assert widen(traced(net, torch.randn(1, 3, 224, 224)).module()) == 1
    assert 1 < widen(traced(net, torch.randn(1, 3, 64, 64)).module()) < MOST
