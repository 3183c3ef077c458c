"""Cross-layer equalization: the same function, like channel ranges, and a reason for each layer left out."""

import pytest
import torch
from quant_nets import build, traced
from torch import nn

from edgekit.quant import tensors
from edgekit.quant.equalize import equalize


def net(*layers: nn.Module) -> nn.Module:
    """The layers in a row, with channels whose ranges differ a thousandfold."""
    torch.manual_seed(0)
    model = nn.Sequential(*layers).eval()
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
                wide = torch.logspace(-2, 1, layer.weight.shape[0])[torch.randperm(layer.weight.shape[0])]
                layer.weight.mul_(wide.view(-1, *[1] * (layer.weight.dim() - 1)))
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_var.uniform_(0.1, 10)
                layer.running_mean.normal_()
    return model


def conv(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, groups=groups)


IMAGE, ROW, WORDS = (2, 4, 9, 9), (2, 6), (2, 5, 6)
CASES = {
    "plain": ([conv(4, 6), nn.ReLU(), conv(6, 5, 3)], IMAGE, 1),
    "nothing between": ([conv(4, 6), conv(6, 5)], IMAGE, 1),
    "batch norms": (
        [nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 5), nn.BatchNorm2d(5)],
        IMAGE,
        1,
    ),
    "depthwise triple": (
        [conv(4, 6), nn.ReLU(), conv(6, 6, 3, groups=6), nn.ReLU(), conv(6, 5)],
        IMAGE,
        2,
    ),
    "groups": ([conv(4, 6, 3, groups=2), nn.ReLU(), conv(6, 9, 3, groups=3)], IMAGE, 1),
    "multiplied channels": ([conv(4, 6), nn.LeakyReLU(), conv(6, 12, 3, groups=6)], IMAGE, 1),
    "pools and a pad": (
        [
            conv(4, 6),
            nn.MaxPool2d(2),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.AvgPool2d(2),
            nn.Dropout(),
            conv(6, 5),
        ],
        IMAGE,
        1,
    ),
    "flattened pixels": ([conv(4, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(150, 3)], IMAGE, 1),
    "rows": ([nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)], ROW, 1),
    "sequences": ([nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)], WORDS, 1),
    "one dimension": (
        [nn.Conv1d(5, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2)],
        (2, 5, 7),
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_stay_and_both_ranges_of_each_channel_become_equal(name: str) -> None:
    layers, shape, pairs = CASES[name]
    model, x = net(*layers), torch.randn(shape)
    graph = traced(model, x).module()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    done = equalize(graph)
    assert len(done.pairs) == pairs
    torch.testing.assert_close(graph(x), model(x), rtol=1e-4, atol=1e-5)
    nodes = {node.name: node for node in graph.graph.nodes}
    for first, second in done.pairs:
        writes = tensors.read(graph, nodes[first].args[1].target).abs().flatten(1).amax(1)
        weight = tensors.read(graph, nodes[second].args[1].target).abs()
        if weight.shape[1] == 1 or name == "groups":  # [O, C / g, ...]: each group reads its own channels
            reads = weight.reshape(-1, weight.shape[0] * weight.shape[1] // len(writes), *weight.shape[2:])
            groups = len(writes) // weight.shape[1]
            reads = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flatten(1).amax(1)
        else:
            reads = weight.transpose(0, 1).reshape(len(writes), -1).amax(1)
        torch.testing.assert_close(writes, reads, rtol=0.01, atol=0)
    assert all(
        torch.equal(value, model.state_dict()[key]) for key, value in before.items()
    )  # the user's own stay


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_layers_are_equalized_by_their_own_axes(groups: int) -> None:
    """Channels a thousandfold apart (onnxruntime#19694); the weight is [in, out / groups, ...]."""
    torch.manual_seed(0)
    first, second = nn.ConvTranspose2d(8, 12, 3, 2), nn.ConvTranspose2d(12, 6, 4, 2, groups=groups)
    with torch.no_grad():
        first.weight.mul_(torch.logspace(-2, 1, 12).view(1, -1, 1, 1))
    model, x = nn.Sequential(conv(4, 8), nn.ReLU(), first, nn.ReLU(), second).eval(), torch.randn(IMAGE)
    graph = traced(model, x).module()
    done = equalize(graph)
    assert len(done.pairs) == 2 and not done.left_out
    torch.testing.assert_close(graph(x), model(x), rtol=1e-4, atol=1e-5)
    nodes = {node.name: node for node in graph.graph.nodes}
    weights = [tensors.read(graph, nodes[name].args[1].target).abs() for name in done.pairs[1]]
    torch.testing.assert_close(weights[0].amax((0, 2, 3)), weights[1].amax((1, 2, 3)), rtol=0.01, atol=0)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([conv(4, 6), nn.ReLU6(), conv(6, 5)], {"hardtanh": 1}),
        ([conv(4, 6), nn.Hardswish(), conv(6, 5)], {"hardswish": 1}),
        ([conv(4, 6), nn.SiLU(), conv(6, 5)], {"silu": 1}),
        ([conv(4, 6), nn.ConstantPad2d(1, 0.5), conv(6, 5)], {"pad": 1}),
        ([conv(4, 6), nn.Flatten(2), nn.Linear(81, 5)], {"flatten": 1}),
        ([conv(4, 6), nn.ReLU()], {}),
    ],
)
def test_what_is_not_proportional_is_left_out_with_the_reason(
    layers: list[nn.Module], reason: dict[str, int]
) -> None:
    x = torch.randn(IMAGE)
    model = net(*layers)
    graph = traced(model, x).module()
    done = equalize(graph)
    assert (done.pairs, done.left_out) == ((), reason)
    assert torch.equal(graph(x), model(x))


def test_a_residual_has_several_readers_and_an_add() -> None:
    model, x = build("residual")
    done = equalize(traced(model, x).module())
    assert (done.pairs, done.left_out) == ((), {"several readers": 1, "add": 1})


def test_a_weight_that_two_layers_share_is_left_out() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.fc(self.fc(x).relu()).relu())

    model, x = Twice(), torch.randn(3, 4)
    graph = traced(model, x).module()
    done = equalize(graph)
    assert (done.pairs, done.left_out) == ((), {"shared weight": 2})


def test_a_channel_without_weights_is_left_alone() -> None:
    model, x = net(conv(4, 6), nn.ReLU(), conv(6, 5)), torch.randn(IMAGE)
    with torch.no_grad():
        model[0].weight[2] = 0
        model[2].weight[:, 3] = 0
    graph = traced(model, x).module()
    equalize(graph)
    torch.testing.assert_close(graph(x), model(x), rtol=1e-4, atol=1e-5)
