"""Counted and predicted multiply-accumulates."""

import prune_nets as nets
import pytest
import torch
from torch import nn

from edgekit.prune import module_macs
from edgekit.prune.criteria import Evidence, find
from edgekit.prune.cut import cut
from edgekit.prune.graph import Graph

EXAMPLE = (torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)
KINDS = [nets.Plain, nets.Residual, nets.Mobile, nets.Grouped, nets.Joined, nets.Transformer]


def test_a_count_that_can_be_written_down() -> None:
    class Own(nn.Conv2d):
        """Counters that look up classes miss a subclass."""

    net = nn.Sequential(Own(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 16, 5))
    assert module_macs.count(net, (torch.zeros(1, 3, 4, 4),)) == 16 * 8 * 3 * 9 + 8 * 16 * 5


def test_attention_is_counted_whole() -> None:
    layer, tokens, width = nn.MultiheadAttention(8, 2, batch_first=True).eval(), 5, 8

    class Self(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    expected = 4 * tokens * width * width + 2 * tokens * tokens * width
    assert module_macs.count(Self(), (torch.zeros(1, tokens, width),)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_forecast_is_what_the_pruned_net_counts(kind: type[nn.Module]) -> None:
    graph = Graph(nets.made(kind), EXAMPLE)
    forecast = module_macs.Forecast(graph.module, EXAMPLE, graph.groups)
    widths = {root: group.width - 2 * max(2, group.blocks) for root, group in graph.groups.items()}
    predicted = forecast(widths)
    assert forecast({}) == module_macs.count(graph.module, EXAMPLE)
    cut(graph, widths, find("l2").score(graph, Evidence()).scores)
    assert (
        predicted == pytest.approx(module_macs.count(graph.module, EXAMPLE), rel=1e-6)
        and predicted < 0.9 * forecast.total
    )
