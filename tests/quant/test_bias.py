"""Bias correction: the mean error that rounding the weights causes is gone, and nothing else is left behind."""

import pytest
import torch
from quant_nets import quant, targets, traced
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.quant import bias
from edgekit.quant.quantizer import ProfileQuantizer

LAYERS = {
    "pointwise": (lambda: nn.Conv2d(6, 8, 1), (4, 6, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(6, 12, 3, groups=6), (4, 6, 9, 9)),
    "grouped": (lambda: nn.Conv1d(6, 8, 3, groups=2), (4, 6, 9)),
    "linear": (lambda: nn.Linear(6, 8), (4, 6)),
    "linear of a sequence": (lambda: nn.Linear(6, 8), (4, 7, 6)),
}


def converted(model: nn.Module, x: torch.Tensor, corrected: bool) -> torch.fx.GraphModule:
    prepared = prepare_pt2e(traced(model, x).module(), ProfileQuantizer(quant(bits=3), "minmax"))
    watchers = bias.watch(prepared) if corrected else []
    prepared(x)
    bias.correct(prepared, watchers)
    return convert_pt2e(prepared, fold_quantize=False)


@pytest.mark.parametrize("name", LAYERS)
def test_the_mean_error_of_each_channel_falls(name: str) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    model, x = make().eval(), torch.rand(shape) + 1
    errors = {}
    for corrected in (False, True):
        difference = converted(model, x, corrected)(x) - model(x)
        axis = -1 if name.startswith("linear") else 1
        errors[corrected] = difference.movedim(axis, 0).flatten(1).mean(1).abs().mean()
    assert errors[True] < 0.35 * errors[False]


def test_the_graph_is_the_same_with_other_biases() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)), torch.rand(2, 3, 8, 8)
    assert targets(converted(model, x, True)) == targets(converted(model, x, False))


def test_a_layer_without_bias_is_left_alone() -> None:
    x = torch.rand(2, 6)
    prepared = prepare_pt2e(
        traced(nn.Linear(6, 3, bias=False), x).module(), ProfileQuantizer(quant(), "minmax")
    )
    assert bias.watch(prepared) == []


def test_a_bias_that_two_layers_share_is_corrected_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.fc(x))

    model, x = Twice(), torch.rand(8, 4)
    with torch.no_grad():
        error = (converted(model, x, True)(x) - model(x)).abs().mean()
        assert error < 2 * (converted(model, x, False)(x) - model(x)).abs().mean()
