"""Layers, their sensitivity and the knapsack on a net whose worst layer is known."""

import math

import pytest
import torch
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgekit.quant import knapsack, layer_sensitivity
from edgekit.quant.integer_regions import network
from edgekit.quant.knapsack import Costs
from edgekit.quant.quantizer import ProfileQuantizer
from edgekit.quant.simulate import Simulation, answers, snr_db
from edgekit.records import Quant

QUANT = Quant(activation_dtype="uint8", weight_bits=7, granularity="per_channel", symmetric_activations=False)
SHAPE = (1, 3, 16, 16)


class Planted(nn.Module):
    """Three blocks with a residual sum; channel 0 behind `spread` is 300 times larger, and made small again after."""

    def __init__(self, factor: float = 300.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.spread = nn.Conv2d(16, 16, 1)
        self.gather = nn.Conv2d(16, 16, 1)
        self.wide = nn.Sequential(nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 16, 3, padding=1))
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.spread.weight[0] *= factor
            self.spread.bias[0] *= factor
            self.gather.weight[:, 0] /= factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.gather(torch.nn.functional.hardtanh(self.spread(x), -1e4, 1e4))
        x = x + self.wide(x)
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def prepared() -> torch.fx.GraphModule:
    model = prepare_pt2e(
        torch.export.export(Planted().eval(), (torch.zeros(SHAPE),)).module(),
        ProfileQuantizer(QUANT, "minmax"),
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _ in range(8):
            model(torch.randn(SHAPE, generator=generator))
    return model


@pytest.fixture(scope="module")
def samples() -> list[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(2)
    return [(torch.randn(SHAPE, generator=generator),) for _ in range(4)]


def name_of(net, module: str) -> str:
    return next(layer.name for layer in net.layers if layer.module == module)


def test_layers_in_order_with_their_work(prepared) -> None:
    net = network(prepared)
    assert [layer.module for layer in net.layers] == [
        "stem.0",
        "spread",
        "gather",
        "wide.0",
        "wide.2",
        "head",
    ]
    assert net.layers[0].macs == 16 * 16 * 16 * 3 * 9
    assert net.layers[-1].macs == net.layers[-1].weights == 160
    assert net.layers[1].origin == "spread (Conv2d)"


def test_tensors_know_who_makes_and_who_reads_them(prepared) -> None:
    net = network(prepared)
    made = {tensor.maker: tensor for tensor in net.tensors}
    spread, gather = name_of(net, "spread"), name_of(net, "gather")
    assert made[spread].readers == (gather,)
    stem = made[name_of(net, "stem.0")]
    assert stem.readers == (spread,), "the sum that reads it too is an operator, not a layer"
    assert len(stem.operators) == 1
    model_input = next(t for t in net.tensors if t.readers == (name_of(net, "stem.0"),))
    assert (
        model_input.maker is None and model_input.sources == () and model_input.elements == math.prod(SHAPE)
    )


def test_harms_add_up_and_the_planted_tensor_leads(prepared, samples) -> None:
    net = network(prepared)
    sensitivity = layer_sensitivity.measure(prepared, net, samples)
    worst = net.tensors[max(range(len(net.tensors)), key=sensitivity.tensors.__getitem__)]
    assert worst.maker == name_of(net, "spread")
    assert max(sensitivity.tensors) > 3 * max(sensitivity.weights.values())
    float_run, integer_run = Simulation(prepared, rounds=False), Simulation(prepared)
    together = snr_db(answers(float_run, samples), answers(integer_run, samples))
    assert layer_sensitivity.db(sensitivity.total) == pytest.approx(together, abs=4.0)


def test_measuring_changes_nothing(prepared, samples) -> None:
    before = answers(Simulation(prepared), samples)
    layer_sensitivity.measure(prepared, network(prepared), samples[:1])
    assert all(torch.equal(a, b) for a, b in zip(before, answers(Simulation(prepared), samples), strict=True))


def by_macs(net) -> Costs:
    return Costs(
        layers={la.name: la.macs / net.macs for la in net.layers},
        border_per_element=0.0,
        unit="share of MACs",
    )


def test_the_cheapest_set_takes_the_planted_tensor_away(prepared, samples) -> None:
    net = network(prepared)
    sensitivity = layer_sensitivity.measure(prepared, net, samples)
    choice = knapsack.solve(net, sensitivity, by_macs(net), sensitivity.total / 4)
    assert choice is not None
    assert set(choice.float_layers) == {name_of(net, "spread"), name_of(net, "gather")}
    assert choice.noise <= sensitivity.total / 4
    assert choice.cost < 0.1


def test_without_a_limit_only_time_counts(prepared, samples) -> None:
    net = network(prepared)
    sensitivity = layer_sensitivity.measure(prepared, net, samples)
    everything = knapsack.solve(net, sensitivity, by_macs(net))
    assert everything is not None and everything.float_layers == ()
    stem = name_of(net, "stem.0")
    faster = Costs(
        layers={layer.name: -1.0 if layer.name == stem else 1.0 for layer in net.layers},
        border_per_element=0.0,
        unit="s",
    )
    only_stem = knapsack.solve(net, sensitivity, faster)
    assert only_stem is not None and only_stem.float_layers == (stem,)


def test_a_dear_border_keeps_a_layer_in_integers(prepared, samples) -> None:
    net = network(prepared)
    sensitivity = layer_sensitivity.measure(prepared, net, samples)
    wide = name_of(net, "wide.0")
    costs = Costs(
        layers={layer.name: -1.0 if layer.name == wide else 1e6 for layer in net.layers},
        border_per_element=1.0,
        unit="s",
    )
    choice = knapsack.solve(net, sensitivity, costs)
    assert choice is not None and choice.float_layers == ()


def test_a_limit_that_nothing_meets(prepared, samples) -> None:
    net = network(prepared)
    sensitivity = layer_sensitivity.measure(prepared, net, samples)
    assert knapsack.solve(net, sensitivity, by_macs(net), -1.0) is None
    silent = knapsack.solve(net, sensitivity, by_macs(net), 0.0)
    assert silent is not None and len(silent.float_layers) == len(net.layers)
