"""Masks in a training graph: what is seen, what trains, what comes back."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.quant.recalibrate import recalibrate
from edgekit.quant.trainable import give_back, trainable
from edgekit.sparse import layers
from edgekit.sparse.masks import Masks
from edgekit.sparse.patterns import read


class Net(nn.Module):
    """A weight that two layers share, and one that a linear layer reads from the top."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.twice = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.conv(x))).mean((2, 3))
        return F.linear(self.twice(F.relu(self.twice(x))), self.weight)


@pytest.fixture
def graph() -> torch.fx.GraphModule:
    torch.manual_seed(0)
    return torch.export.export(Net().eval(), (torch.zeros(1, 2, 6, 6),)).module()


def test_layers_are_found_once(graph) -> None:
    found = layers.find(graph)
    assert [(layer.path, layer.shape, layer.ends_model) for layer in found] == [
        ("conv.weight", (4, 2, 3, 3), False),
        ("twice.weight", (4, 4), False),
        ("weight", (3, 4), True),
    ]


@pytest.mark.parametrize("criterion", ["magnitude", "movement"])
def test_masked_weights_are_zero_and_stay(graph, criterion) -> None:
    model = trainable(graph).train()
    masks = Masks(model, layers.find(graph), criterion)
    masks.put([w.abs() > w.abs().median() for w in masks.weights()])
    before = [w.clone() for w in masks.weights()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(torch.randn(8, 2, 6, 6)), torch.arange(8) % 3).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    optimizer.step()
    for layer, old, new, mask in zip(masks.layers, before, masks.weights(), masks.masks, strict=True):
        assert torch.equal(old[~mask.kept], new[~mask.kept]) and not torch.equal(old, new)
        assert not gradients[layer.path][~mask.kept].any()
    give_back(model, graph)
    masks.write(graph)
    x = torch.randn(1, 2, 6, 6)
    assert torch.allclose(graph(x), model.eval()(x), atol=1e-6)
    assert all(f"_mask_{i}.kept" in model.state_dict() for i in range(3))


def test_movement_is_minus_gradient_times_weight(graph) -> None:
    """Also of what is masked."""
    model = trainable(graph).train()
    masks = Masks(model, layers.find(graph)[2:], "movement")
    masks.put([torch.zeros(3, 4, dtype=torch.bool)])
    (weight,), x = masks.weights(), torch.randn(8, 2, 6, 6)
    hidden = []
    score = masks.masks[0].score
    assert score is not None
    for _ in range(2):
        outputs = model(x)
        outputs.retain_grad()
        F.cross_entropy(outputs, torch.arange(8) % 3).backward()
        hidden.append(outputs.grad)
    state = {name: p.detach() for name, p in model.named_parameters()}
    twice = lambda h: F.linear(h, state["twice.weight"], state["twice.bias"])  # noqa: E731
    norm = F.batch_norm(
        F.conv2d(x, state["conv.weight"], state["conv.bias"]),
        None,
        None,
        state["norm.weight"],
        state["norm.bias"],
        True,
    )
    h = twice(F.relu(twice(F.relu(norm).mean((2, 3)))))
    expected = -sum(g.T @ h for g in hidden) * weight
    assert torch.allclose(score, expected, atol=1e-6) and score.abs().max() > 1e-3
    masks.renew(read("unstructured"), 0.5, "layer")
    assert int(masks.masks[0].kept.sum()) == 6
    assert score.masked_select(masks.masks[0].kept).min() >= score.masked_select(~masks.masks[0].kept).max()
    assert torch.equal(weight, masks.weights()[0])


def test_norms_learn_their_statistics_again(graph) -> None:
    model = trainable(graph)
    batches = [torch.randn(16, 2, 6, 6) * 3 for _ in range(4)]
    weight = dict(model.named_parameters())["conv.weight"].clone()
    assert recalibrate(model, [(batch,) for batch in batches], 64) == 64
    state = model.state_dict()
    x = torch.cat(batches)
    outputs = F.conv2d(x, state["conv.weight"], state["conv.bias"])
    assert torch.allclose(state["norm.running_mean"], outputs.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(state["norm.running_var"], outputs.var((0, 2, 3)), rtol=0.05)
    assert torch.equal(weight, state["conv.weight"]) and not any(
        m.training for m in model.modules() if hasattr(m, "frozen")
    )
