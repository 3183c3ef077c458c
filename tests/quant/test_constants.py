"""What depends on no input is stored, and training goes on with the weights among it."""

import pytest
import torch
from quant_nets import targets
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from edgekit.quant import proven, trainable
from edgekit.quant.prepare import prepare_graph

ATEN = torch.ops.aten


class Apply(nn.Module):
    def __init__(self, function, **held) -> None:
        super().__init__()
        self.function = function
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def prepared(model: nn.Module, x: torch.Tensor) -> torch.export.ExportedProgram:
    """The prepared program, after checking that it computes what the model does."""
    graph = torch.export.export(model.eval(), (x,)).module()
    before = proven.reference(graph, (x,))
    program = torch.export.export(prepare_graph(graph), (x,))
    assert before.difference(program.module()) == ""
    return program


class Square(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * weight


def squared(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Square())
    return layer


FORMS = {
    "weight_norm": parametrizations.weight_norm,
    "older weight_norm": weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "older spectral_norm": spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "own": squared,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_parametrized_convolution_has_one_weight_that_trains(form: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(FORMS[form](nn.Conv2d(3, 4, 3)), nn.ReLU(), FORMS[form](nn.Linear(4, 2)))
    program = prepared(net, torch.zeros(1, 3, 5, 6))
    graph = program.module()
    assert targets(graph) == ["conv2d.default", "relu.default", "linear.default"]
    assert sorted(program.state_dict) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert set(trainable.weights(graph)) == {"0.bias", "0.weight", "2.bias", "2.weight"}
    assert isinstance(graph.get_parameter("0.weight"), nn.Parameter)
    with torch.no_grad():
        net(torch.zeros(1, 3, 5, 6))  # the older hooks compute the weight when called
        torch.testing.assert_close(graph.get_parameter("0.weight").detach(), net[0].weight.detach())


def test_computed_constants_are_stored_and_not_saved_with_the_weights() -> None:
    program = prepared(
        Apply(lambda s, x: x + torch.eye(3) * torch.arange(3) + torch.tensor([1.0, 2, 3])),
        torch.zeros(1, 3, 3),
    )
    assert targets(program.module()) == ["add.Tensor", "add.Tensor"]
    assert program.state_dict == {}
    values = {name: value for name, value in program.constants.items() if name.startswith("folded_")}
    assert [v.tolist() for v in values.values()] == [[[0, 0, 0], [0, 1, 0], [0, 0, 2]]]


def test_a_constant_of_a_parameter_goes_on_training() -> None:
    program = prepared(Apply(lambda s, x: x * s.p.exp(), p=nn.Parameter(torch.ones(3))), torch.zeros(1, 3))
    (name,) = program.state_dict
    assert name.startswith("folded_") and isinstance(program.module().get_parameter(name), nn.Parameter)


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda s, x: x + s.p.view(1, 3), "view.default"),  # costs nothing
        (lambda s, x: x + torch.rand(1, 3), "rand.default"),  # chance
        (lambda s, x: (x @ s.wide.t()) @ s.wide, "t.default"),  # would be stored twice
        (
            lambda s, x: x[:, :1] + torch.arange(600.0)[:, None] * torch.arange(600.0),
            "mul.Tensor",
        ),  # 1.4 MB of nothing
    ],
)
def test_what_is_no_gain_stays(function, left: str) -> None:
    held = {"p": nn.Parameter(torch.ones(3)), "wide": nn.Parameter(torch.randn(2000, 3))}
    graph = torch.export.export(Apply(function, **held).eval(), (torch.zeros(1, 3),)).module()
    assert left in targets(prepare_graph(graph))


def test_what_a_large_constant_is_made_of_is_stored() -> None:
    program = prepared(
        Apply(lambda s, x: x[:, :1] + torch.arange(600.0)[:, None] * torch.arange(600.0)), torch.zeros(1, 3)
    )
    assert "arange.default" not in targets(program.module())
    assert sum(value.numel() for value in program.constants.values()) <= 2 * 600


def test_a_constant_that_is_made_in_place_is_stored_as_it_is_in_the_end() -> None:
    def forward(self, x):
        y = torch.zeros(4, 3)
        y[1:3] = 2
        return y + x

    program = prepared(Apply(forward), torch.zeros(1, 3))
    assert targets(program.module()) == ["add.Tensor"]
    assert program.module()(torch.zeros(1, 3)).sum(1).tolist() == [0, 6, 6, 0]


def test_a_constant_that_is_read_before_it_is_written_stays() -> None:
    def forward(self, x):
        y = torch.zeros(3)
        first = x + y
        y[1] = 2
        return first + y

    assert prepared(Apply(forward), torch.zeros(1, 3)).module()(torch.zeros(1, 3)).tolist() == [[0, 2, 0]]


def test_a_constant_that_an_input_is_written_into_is_made_anew_each_time() -> None:
    def forward(self, x):
        y = torch.zeros(4, 3)
        y[1:3] = x
        return y + x

    graph = prepared(Apply(forward), torch.zeros(1, 3)).module()
    first, again = graph(torch.ones(1, 3)), graph(torch.zeros(1, 3))
    assert float(first.sum()) == 3 * 2 + 12 and float(again.sum()) == 0
