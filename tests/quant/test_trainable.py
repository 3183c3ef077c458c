"""An exported graph that trains: as many samples as one likes, modes that switch, tensors that come back."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.quant import program as programs
from edgekit.quant.trainable import Norm, OneByOne, give_back, trainable, weights


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(F.relu(self.norm(self.conv(x))), 1)
        return self.head(self.drop(x.view(1, -1) if x.shape[0] == 1 else x.view(x.shape[0], -1)))


class Meeting(nn.Module):
    """Samples might meet: attention between rows."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x @ x.transpose(1, 2) @ x).mean(1)


@pytest.fixture
def pair() -> tuple[nn.Module, torch.fx.GraphModule]:
    torch.manual_seed(0)
    model = Net().eval()
    return model, torch.export.export(model, (torch.zeros(1, 3, 8, 8),)).module()


def test_it_answers_as_the_model_in_both_modes(pair) -> None:
    model, graph = pair
    module, x = trainable(graph).eval(), torch.randn(6, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(module(x), model(x), atol=1e-6)
        module.train(), model.train()
        torch.manual_seed(1)
        ours = module(x)
        torch.manual_seed(1)
        assert torch.allclose(ours, model(x), atol=1e-5)
        assert torch.allclose(
            dict(module.named_buffers())["norm.running_mean"], model.norm.running_mean, atol=1e-6
        )


def test_a_frozen_norm_keeps_its_statistics(pair) -> None:
    module = trainable(pair[1]).train()
    (norm,) = [m for m in module.modules() if isinstance(m, Norm)]
    norm.frozen = True
    before = dict(module.named_buffers())["norm.running_mean"].clone()
    module(torch.randn(6, 3, 8, 8))
    assert torch.equal(before, dict(module.named_buffers())["norm.running_mean"])


def test_every_weight_trains_and_comes_back(pair) -> None:
    graph = pair[1]
    module = trainable(graph).train()
    names = {"conv.weight", "conv.bias", "norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert {n for n, p in module.named_parameters() if p.requires_grad} == names == set(weights(graph))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    F.cross_entropy(module(torch.randn(8, 3, 8, 8)), torch.arange(8) % 4).backward()
    optimizer.step()
    untouched = torch.export.export(pair[0], (torch.zeros(1, 3, 8, 8),)).module()
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(graph(x), untouched(x)), "what trains is a copy"
    give_back(module, graph)
    assert torch.allclose(graph(x), module.eval()(x), atol=1e-6) and not torch.allclose(
        graph(x), untouched(x)
    )


def test_it_exports_again_to_the_same_operators(pair) -> None:
    graph = pair[1]
    again = programs.export(trainable(graph).eval(), (torch.zeros(1, 3, 8, 8),))
    before, after = ([str(n.target) for n in programs.calls(g)] for g in (graph, again.module()))
    assert [name for name in after if "batch_norm" in name or "conv" in name] == [
        name for name in before if "batch_norm" in name or "conv" in name
    ]


def test_samples_that_might_meet_go_one_by_one() -> None:
    model = Meeting()
    module = trainable(torch.export.export(model, (torch.zeros(1, 3, 4),)).module())
    x = torch.randn(5, 3, 4)
    assert isinstance(module, OneByOne) and torch.allclose(module(x), model(x), atol=1e-5)
    module(x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    give_back(module, torch.export.export(model, (torch.zeros(1, 3, 4),)).module())
