"""Cuts to given widths: what the next planner calls."""

import prune_nets as nets
import pytest
import torch

from edgekit.errors import ConversionError, UserError
from edgekit.prune.criteria import Evidence, find
from edgekit.prune.cut import cut, least
from edgekit.prune.graph import Graph

EXAMPLE = (torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)
INPUTS = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def ranked(graph: Graph) -> dict[str, torch.Tensor]:
    return find("l2").score(graph, Evidence()).scores


def test_groups_say_what_goes_together() -> None:
    groups = Graph(nets.made(nets.Residual), EXAMPLE).groups
    assert {root: group.width for root, group in groups.items()} == {
        "conv1": 16, "layer1.0.conv1": 16, "layer1.1.conv1": 16,
        "layer2.0.conv1": 32, "layer2.0.conv2": 32, "layer2.1.conv1": 32,
    }  # fmt: skip
    assert set(groups["layer1.0.conv1"].members) == {"layer1.0.conv1", "layer1.0.bn1", "layer1.0.conv2"}
    stream = set(groups["conv1"].members)
    assert {"conv1", "bn1", "layer1.0.conv2", "layer1.1.conv2", "layer2.0.conv1", "layer2.0.short"} <= stream
    assert groups["conv1"].parts[0].side == "out" and {p.side for p in groups["conv1"].parts} == {"in", "out"}


def test_blocks_of_grouped_convolutions_and_heads() -> None:
    assert Graph(nets.made(nets.Grouped), EXAMPLE).groups["b.0"].blocks == 4
    groups = Graph(nets.made(nets.Transformer), EXAMPLE).groups
    assert groups["patch"].blocks == 4 and groups["layers.0.mlp.0"].blocks == 1
    assert Graph(nets.made(nets.Mobile), EXAMPLE).groups["wide.0"].blocks == 1, (
        "depthwise: each channel alone"
    )


def test_a_joined_layer_keeps_both_branches_apart() -> None:
    groups = Graph(nets.made(nets.Joined), EXAMPLE).groups
    reader = next(p for p in groups["right.0"].parts if p.layer == "after.0")
    assert (
        reader.side == "in" and reader.indices == tuple(range(24, 40)) and reader.channels == tuple(range(16))
    )


@pytest.mark.parametrize("kind", [nets.Plain, nets.Residual, nets.Mobile, nets.Grouped, nets.Joined])
def test_it_cuts_exactly_and_computes_what_is_left(kind: type[torch.nn.Module]) -> None:
    net = nets.made(kind)
    graph = Graph(net, EXAMPLE)
    widths = {root: group.width - 2 * max(2, group.blocks) for root, group in graph.groups.items()}
    scores = ranked(graph)
    kept = cut(graph, widths, scores)
    for root, width in widths.items():
        assert net.get_submodule(root).weight.shape[0] == width == len(kept[root])
        gone = set(range(len(scores[root]))) - set(kept[root])
        if graph.groups[root].blocks == 1:
            assert scores[root][list(gone)].max() <= scores[root][kept[root]].min()
    assert net(INPUTS).shape == (4, 10)


def test_dead_channels_can_go_without_a_trace() -> None:
    net = nets.made(nets.Residual)
    with torch.no_grad():
        for channel in (3, 7):
            net.layer2[1].conv2.weight[:, channel] = 0
    before = net(INPUTS).detach()
    graph = Graph(net, EXAMPLE)
    scores = {"layer2.1.conv1": torch.ones(32)}
    scores["layer2.1.conv1"][[3, 7]] = 0
    assert 3 not in cut(graph, {"layer2.1.conv1": 30}, scores)["layer2.1.conv1"]
    assert torch.allclose(net(INPUTS), before, atol=1e-5) and net.layer2[1].conv1.out_channels == 30


def test_the_same_channels_go_in_every_block() -> None:
    group = Graph(nets.made(nets.Grouped), EXAMPLE).groups["b.0"]
    scores = torch.tensor([0.0, 5, 5, 5, 5, 5, 1, 5] * 4)
    assert least(group, 24, scores) == [0, 6, 8, 14, 16, 22, 24, 30]


def test_widths_that_cannot_be() -> None:
    graph = Graph(nets.made(nets.Grouped), EXAMPLE)
    scores = ranked(graph)
    for width in (0, 33):
        with pytest.raises(
            UserError, match=rf"b\.0 cannot keep {width} channels; it has 32, in multiples of 4"
        ):
            cut(graph, {"b.0": width}, scores)
    with pytest.raises(UserError, match=r"b\.0 cannot keep 30 channels"):
        cut(graph, {"b.0": 30}, scores)
    with pytest.raises(UserError, match=r"no group 'b'; there are a\.0, b\.0, c\.0"):
        cut(graph, {"b": 8}, {})


def test_a_cut_that_breaks_the_net_says_so() -> None:
    graph = Graph(nets.made(nets.Residual, padded=True), EXAMPLE)
    with pytest.raises(
        ConversionError, match="Residual does not work without some of its channels: RuntimeError"
    ):
        cut(graph, {"conv1": 8}, ranked(graph))
