"""What litert-torch writes wrongly or cannot write, in operators that it can: equal on the graph."""

import pytest
import torch
import torch.nn.functional as F
from quant_nets import traced
from torch import nn

from edgekit.export._tflite_forms import for_litert

X = torch.randn(1, 3, 7, 9, generator=torch.Generator().manual_seed(0))


class Warped(nn.Module):
    """Reads an image at places of which many are outside, by their own shifts."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, 3 * x[:, :2].permute(0, 2, 3, 1), **self.options)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("corners", [False, True])
def test_reflected_places_are_inside(mode: str, corners: bool) -> None:
    model = Warped(mode=mode, padding_mode="reflection", align_corners=corners)
    graph_module = for_litert(traced(model, X).module())
    (node,) = (n for n in graph_module.graph.nodes if "grid_sampler" in str(n.target))
    assert node.args[3] == (2 if mode == "bicubic" else 1)
    torch.testing.assert_close(graph_module(X), model(X), rtol=1e-3, atol=1e-4)
