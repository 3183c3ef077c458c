"""Rewrites for integer targets: the same function, in operators that have integer kernels."""

import pytest
import torch
from quant_nets import targets, traced
from torch import nn
from torch.nn import functional as F

from edgekit.quant.lower import lower_for_integers

X = torch.rand(1, 3, 4, 4) * 2 - 0.5
MEAN = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)


class Of(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("mean", MEAN)
        self.norm = nn.BatchNorm2d(3)
        self.norm.running_mean, self.norm.running_var = MEAN.flatten(), torch.tensor([0.5, 2.0, 0.1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


@pytest.mark.parametrize(
    ("function", "full", "expected"),
    [
        (lambda m, x: (x - m.mean) / (m.mean + 1), False, ["add.Tensor", "mul.Tensor"]),
        (lambda m, x: (x - m.mean) / m.mean, False, ["add.Tensor", "mul.Tensor"]),
        (lambda m, x: x.clamp(0, 1), False, ["hardtanh.default"]),
        (lambda m, x: x.clamp(min=0), False, ["relu.default"]),
        (lambda m, x: x.clamp(max=1), False, ["clamp.default"]),
        (lambda m, x: x**2, False, ["mul.Tensor"]),
        (lambda m, x: torch.stack((x, x), 1), False, ["unsqueeze.default", "unsqueeze.default", "cat.default"]),
        (lambda m, x: x * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), False, ["mul.Tensor"]),
        (lambda m, x: 1 - x, False, ["rsub.Scalar"]),
        (lambda m, x: 1 - x, True, ["sub.Tensor"]),
        (lambda m, x: m.norm(x), False, ["batch_norm.default"]),
        (lambda m, x: m.norm(x), True, ["conv2d.default"]),
        (lambda m, x: F.batch_norm(x.mean((2, 3)), m.norm.running_mean, m.norm.running_var), True,
         ["mean.dim", "mul.Tensor", "add.Tensor"]),
        (lambda m, x: x.softmax(1), True, ["softmax.int"]),
        (lambda m, x: x.flatten(2).softmax(1), True,
         ["flatten.using_ints", "transpose.int", "softmax.int", "transpose.int"]),
    ],
)  # fmt: skip
def test_what_becomes_of_an_operator(function, full: bool, expected: list[str]) -> None:
    model = Of(function).eval()
    graph_module = lower_for_integers(traced(model, X).module(), full)
    assert targets(graph_module) == expected
    torch.testing.assert_close(graph_module(X), model(X))


def test_a_norm_behind_a_layer_is_left_to_it() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()
    graph_module = lower_for_integers(traced(model, X).module(), full=True)
    assert "batch_norm.default" in targets(graph_module)


@pytest.mark.parametrize(("factor", "layers"), [(1, 1), (50, 2)])
def test_slices_of_very_different_size_are_layers_of_their_own(factor: float, layers: int) -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            with torch.no_grad():
                self.conv.weight[:4] *= factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left, right = self.conv(x).chunk(2, 1)
            return left * 0.02 + right

    torch.manual_seed(0)
    model = Halves().eval()
    graph_module = lower_for_integers(traced(model, X).module())
    assert targets(graph_module).count("conv2d.default") == layers
    torch.testing.assert_close(graph_module(X), model(X))
