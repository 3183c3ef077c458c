"""Multiply-accumulates by kind, against arithmetic that is written down beside each net."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.quant import graph_macs
from edgekit.records import Macs


class Call(nn.Module):
    """A module that keeps others and calls a function of them."""

    def __init__(self, function: Any, *modules: nn.Module) -> None:
        super().__init__()
        self.kept = nn.ModuleList(modules)
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs, *self.kept)


def counted(module: nn.Module, *shapes: tuple[int, ...]) -> Macs:
    inputs = tuple(torch.zeros(shape) for shape in shapes)
    return graph_macs.count(torch.export.export(module.eval(), inputs))


@pytest.mark.parametrize(
    ("module", "shape", "kind", "count"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 10), "convolution", 8 * 100 * 3 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (1, 8, 10, 10), "convolution", 8 * 100 * 9),
        (nn.Conv1d(4, 6, 5), (1, 4, 12), "convolution", 6 * 8 * 4 * 5),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5), "convolution", 4 * 25 * 6 * 4),
        (nn.Linear(7, 5), (1, 7), "linear", 35),
        (nn.Linear(7, 5), (1, 4, 7), "linear", 4 * 35),
        (nn.LSTM(6, 8), (9, 1, 6), "recurrent", 9 * 4 * 8 * (6 + 8)),
        (nn.LSTM(6, 8, bidirectional=True), (9, 1, 6), "recurrent", 2 * 9 * 4 * 8 * (6 + 8)),
        (nn.GRU(6, 8, num_layers=2, batch_first=True), (1, 9, 6), "recurrent", 9 * 3 * 8 * (6 + 8 + 8 + 8)),
        (nn.RNN(6, 8), (9, 1, 6), "recurrent", 9 * 8 * (6 + 8)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_one_layer(module: nn.Module, shape: tuple[int, ...], kind: str, count: int) -> None:
    found = counted(Call(lambda x, layer: _first(layer(x)), module), shape)
    assert found == Macs(count=count, **{kind: 1.0})


def _first(value: Any) -> torch.Tensor:
    return value[0] if isinstance(value, tuple) else value


def test_attention_is_a_product_of_two_activations() -> None:
    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    found = counted(Call(attend), (1, 2, 5, 4), (1, 2, 7, 4), (1, 2, 7, 3))
    assert found == Macs(count=2 * 5 * 7 * (4 + 3), attention=1.0)
    assert counted(Call(torch.matmul), (1, 5, 4), (1, 4, 7)) == Macs(count=5 * 4 * 7, attention=1.0)


def test_a_product_with_a_stored_tensor_is_linear() -> None:
    class Stored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(7, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight.t()

    assert counted(Stored(), (1, 5, 4)) == Macs(count=5 * 4 * 7, linear=1.0)


@pytest.mark.parametrize("equation", ["bhqd,bhkd->bhqk", "...qd,...kd->...qk"])
def test_every_index_of_an_einsum_runs_through_the_others(equation: str) -> None:
    found = counted(Call(lambda q, k: torch.einsum(equation, q, k)), (1, 2, 5, 4), (1, 2, 7, 4))
    assert found == Macs(count=2 * 5 * 7 * 4, attention=1.0)


def test_shares_of_a_mixed_net() -> None:
    net = Call(
        lambda x, conv, head: head(conv(x).flatten(1)),
        nn.Conv2d(1, 2, 3, padding=1),
        nn.Linear(2 * 16, 3),
    )
    convolution, linear = 2 * 16 * 9, 32 * 3
    found = counted(net, (1, 1, 4, 4))
    assert found.count == convolution + linear
    assert found.convolution == pytest.approx(convolution / found.count)
    assert found.share(["convolution", "linear"]) == pytest.approx(1)
    assert found.share(["recurrent"]) == 0


def test_a_model_that_multiplies_nothing() -> None:
    assert counted(Call(torch.relu), (1, 3)) == Macs(count=0)


def test_a_layer_stores_what_no_layer_before_it_stores() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
            self.two.weight = self.one.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x)) @ self.one.weight.t()

    program = torch.export.export(Tied(), (torch.zeros(1, 6),))
    found = graph_macs.layers(program)
    assert [(row.macs, row.weights) for row in found] == [(36, 42), (36, 0), (36, 0)]
    assert [row.origin for row in found][:2] == ["one (Linear)", "two (Linear)"]
