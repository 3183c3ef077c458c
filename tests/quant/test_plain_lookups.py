"""Bags of embeddings and deformable convolutions, in operators that every converter has: the same function."""

import pytest
import torch
import torchvision
from quant_nets import targets, traced
from torch import nn

GENERATOR = torch.Generator().manual_seed(0)


class Bags(nn.Module):
    def __init__(self, **options) -> None:
        super().__init__()
        self.bag, self.last = nn.EmbeddingBag(20, 6, **options), nn.Linear(6, 2)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.last(self.bag(numbers))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_of_one_length_is_a_lookup(mode: str) -> None:
    model, numbers = Bags(mode=mode), torch.randint(20, (1, 5), generator=GENERATOR)
    graph_module = traced(model, numbers).module()
    assert targets(graph_module)[0] == "embedding.default" and not any(
        "bag" in name for name in targets(graph_module)
    )
    torch.testing.assert_close(graph_module(numbers), model(numbers))


def test_a_bag_that_leaves_numbers_out_stays() -> None:
    numbers = torch.randint(20, (1, 5), generator=GENERATOR)
    assert "embedding_bag.padding_idx" in targets(traced(Bags(mode="mean", padding_idx=3), numbers).module())


class Deformed(nn.Module):
    """Offsets of some pixels, so that many places are outside or between pixels."""

    def __init__(self, parts: int = 1, masked: bool = True, **options) -> None:
        super().__init__()
        self.taps = 6 * parts
        self.moves = nn.Conv2d(
            4, 3 * self.taps, (3, 2), **{k: v for k, v in options.items() if k != "groups"}
        )
        self.layer, self.masked = torchvision.ops.DeformConv2d(4, 8, (3, 2), **options), masked
        nn.init.normal_(self.moves.weight, 0, 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moves = self.moves(x)
        mask = moves[:, 2 * self.taps :].sigmoid() if self.masked else None
        return self.layer(x, moves[:, : 2 * self.taps], mask)


@pytest.mark.parametrize("options", [
    {}, {"masked": False, "padding": (1, 2)}, {"parts": 2, "stride": (2, 1)}, {"groups": 2, "parts": 4, "dilation": (1, 2), "bias": False},
])  # fmt: skip
def test_a_deformable_convolution_reads_samples(options: dict) -> None:
    torch.manual_seed(0)
    model, x = Deformed(**options).eval(), torch.randn(1, 4, 9, 7, generator=GENERATOR)
    program = traced(model, x)
    names = targets(program.graph_module)
    assert "conv2d.default" in names and not any("deform" in name for name in names)
    assert "layer.weight" not in program.graph_signature.parameters and "folded_reshape" in str(
        program.graph_signature.parameters
    )
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)
