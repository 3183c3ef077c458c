"""Which layers are measured together, and that what they predict adds up."""

from typing import Any

import prune_nets as nets
import pytest
import torch
from torch import nn

from edgekit.errors import ConversionError
from edgekit.prune import module_macs
from edgekit.prune.graph import Graph
from edgekit.prune.latency.chains import surroundings
from edgekit.prune.latency.curve import Curve
from edgekit.prune.latency.forecast import Forecast
from edgekit.prune.latency.micro import Between, Border, Layer
from edgekit.prune.shrink import Request, cuttable


class Inverted(nn.Module):
    """An inverted residual as in MobileNetV2: expanded, depthwise, projected, added."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand = nets.conv(1, 16), nets.conv(16, 64, 1)
        self.depthwise, self.project = nets.conv(64, 64, groups=64), nn.Conv2d(64, 16, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.project(self.depthwise(self.expand(x)))
        return self.head(x.mean([2, 3]))


def graph_of(module: nn.Module) -> Graph:
    torch.manual_seed(0)
    return cuttable(module.eval(), (torch.randn(1, 1, 8, 8),), Request(multiple=8))[0]


def test_inner_convolutions_of_a_residual_net_are_measured_with_their_readers() -> None:
    graph = graph_of(nets.Residual(padded=True))
    found = surroundings(graph.module, graph.examples, graph.groups)
    assert set(found.micros) == {f"layer{i}.{j}.conv1" for i in (1, 2) for j in (0, 1)}
    (micro,) = found.micros["layer2.0.conv1"]
    assert micro.text == (
        "1x16x8x8 conv 16>32~32 k3x3 s2x2 p1x1 d1x1 g1; relu; conv 32~32>32 k3x3 s1x1 p1x1 d1x1 g1"
    )
    assert found.micros["layer1.0.conv1"][0].text == found.micros["layer1.1.conv1"][0].text
    assert len(found.each) == 3


def test_what_crosses_the_border_of_a_micro_model_is_known_at_each_width() -> None:
    graph = graph_of(nets.Residual(padded=True))
    found = surroundings(graph.module, graph.examples, graph.groups)
    (inner,) = found.micros["layer2.0.conv1"]
    assert inner.border_elements(32) == inner.border_elements(8) == 16 * 8 * 8 + 32 * 4 * 4
    stream = surroundings(*_parts_of(Inverted())).micros["stem.0"][0]
    assert stream.border_elements(8) == 1 * 8 * 8 + 8 * 8 * 8  # its output is as narrow as the group


def test_the_border_is_what_two_layers_have_once() -> None:
    """One layer of 3 s with a border of 2 s takes 5, two take 8."""
    assert Border.s_per_element((5.0, 8.0)) * Border.elements == pytest.approx(2.0)
    assert Border.s_per_element((3.0, 8.0)) == 0.0


def _parts_of(module: nn.Module) -> tuple[nn.Module, Any, Any]:
    graph = graph_of(module)
    return graph.module, graph.examples, graph.groups


def test_a_depthwise_convolution_between_is_part_of_it() -> None:
    graph = graph_of(Inverted())
    found = surroundings(graph.module, graph.examples, graph.groups)
    (inner,) = found.micros["expand.0"]
    layers = [step for step in inner.steps if isinstance(step, Layer)]
    assert [str(layer.inputs) for layer in layers] == ["16", "64~64", "64~64"]
    module, x = inner.at(24)
    assert module[2].groups == 24
    assert module(x).shape == (1, 16, 8, 8)


def test_a_group_of_the_stream_counts_all_of_its_members() -> None:
    """stem and project make it, expand and head read it; a sum stands between."""
    graph = graph_of(Inverted())
    found = surroundings(graph.module, graph.examples, graph.groups)
    stream = found.micros["stem.0"]
    assert sum(len(micro.nodes) for micro in stream) == 4
    assert all(micro.at(8)[0](micro.at(8)[1]).isfinite().all() for micro in stream)


@pytest.mark.parametrize("net", [nets.Plain, lambda: nets.Residual(padded=True), nets.Residual, Inverted])
def test_micro_models_run_at_every_width_and_reach_every_layer_once(net: type[nn.Module]) -> None:
    graph = graph_of(net())
    found = surroundings(graph.module, graph.examples, graph.groups)
    assert not found.strange
    for root, several in found.micros.items():
        nodes = [node for micro in several for node in micro.nodes]
        assert len(nodes) == len(set(nodes)), root
        for micro in several:
            for width in (micro.width, micro.width // 2):
                module, x = micro.at(width)
                with torch.no_grad():
                    assert module(x).isfinite().all()


@pytest.mark.parametrize("net", [nets.Plain, lambda: nets.Residual(padded=True), nets.Residual, Inverted])
def test_with_macs_for_seconds_the_forecast_counts_macs(net: type[nn.Module]) -> None:
    """Curves that are straight lines through the origin predict exactly what is left of the multiply-accumulates."""
    graph = graph_of(net())
    found = surroundings(graph.module, graph.examples, graph.groups)
    curves = {
        text: Curve([1, m.width], [sum(m.macs) / m.width, sum(m.macs)], m.width, 1)
        for text, m in found.each.items()
    }
    true = module_macs.Forecast(graph.module, graph.examples, graph.groups)
    forecast = Forecast(found.micros, curves, true.total)
    assert forecast({}) == pytest.approx(true.total)
    for widths in ({r: g.width // 2 for r, g in graph.groups.items()}, {next(iter(graph.groups)): 8}):
        assert forecast(widths) == pytest.approx(true(widths), rel=1e-6)


def test_a_table_without_one_of_the_layers_is_of_another_network() -> None:
    graph = graph_of(nets.Residual(padded=True))
    found = surroundings(graph.module, graph.examples, graph.groups)
    with pytest.raises(ConversionError, match=r"no figures of .* it is of another network"):
        Forecast(found.micros, {}, 1.0)


def test_layers_never_take_more_than_the_whole_network() -> None:
    graph = graph_of(nets.Residual(padded=True))
    found = surroundings(graph.module, graph.examples, graph.groups)
    curves = {text: Curve([8, m.width], [1.0, 2.0], m.width, 8) for text, m in found.each.items()}
    forecast = Forecast(found.micros, curves, base_s=4.0)  # four groups of 2 s each
    assert forecast.rest_s == pytest.approx(0)
    assert forecast(dict.fromkeys(graph.groups, 8)) == pytest.approx(2.0)


def test_attention_cannot_be_measured_by_itself_and_its_group_stays() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 16), nn.MultiheadAttention(16, 2, batch_first=True)
            self.c = nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            return self.c(self.b(x, x, x, need_weights=False)[0])

    graph = Graph(Attention(), (torch.randn(1, 5, 8),))
    found = surroundings(graph.module, graph.examples, graph.groups)
    assert any("MultiheadAttention" in layer for layer in found.strange.values())


def test_the_same_activation_with_other_numbers_is_another_micro_model() -> None:
    clamp = Between("hardtanh", torch.ops.aten.hardtanh.default, (0.0, 6.0))
    assert str(clamp) == "hardtanh 0 6"
