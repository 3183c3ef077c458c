"""Attention in operators whose products become integers: the same answers, also where a mask leaves a row empty."""

import pytest
import torch
from quant_nets import quant, targets, traced
from torch import nn
from torch.nn import functional as F

from edgekit.quant.lower import lower_for_integers
from edgekit.quant.quantizer import KEY, ProfileQuantizer

X = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
SEEN = torch.tensor([[True] * 4 + [False] * 2] * 5 + [[False] * 6])  # the last row sees nothing
FLOAT = torch.zeros(6, 6).masked_fill(~SEEN, float("-inf"))
LOWEST = torch.zeros(6, 6).masked_fill(~SEEN, torch.finfo(torch.float32).min)


class Attention(nn.Module):
    def __init__(self, mask: torch.Tensor | None = None, **options) -> None:
        super().__init__()
        self.qkv, self.last, self.options = nn.Linear(8, 24), nn.Linear(8, 8), options
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).reshape(x.shape[0], 6, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, **self.options)
        return self.last(mixed.transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize("mask", [None, SEEN, FLOAT, LOWEST])
def test_what_is_taken_apart_answers_the_same(mask: torch.Tensor | None) -> None:
    model = Attention(mask, **({} if mask is not None else {"scale": 0.3})).eval()
    graph_module = lower_for_integers(traced(model, X).module(), products=True)
    names = targets(graph_module)
    assert names.count("matmul.default") == 2 and "scaled_dot_product_attention.default" not in names
    assert "unbind.int" not in names
    torch.testing.assert_close(graph_module(X), model(X), rtol=1e-4, atol=1e-5)


def test_causal_attention_stays() -> None:
    graph_module = lower_for_integers(traced(Attention(is_causal=True).eval(), X).module(), products=True)
    assert "scaled_dot_product_attention.default" in targets(graph_module)


@pytest.mark.parametrize(("products", "rounded"), [(True, 2), (False, 0)])
def test_products_are_rounded_where_the_profile_says_so(products: bool, rounded: int) -> None:
    quantizer = ProfileQuantizer(quant(bits=8, products=products), "minmax")
    model = quantizer.annotate(quantizer.transform_for_annotation(traced(Attention(SEEN).eval(), X).module()))
    found = [node for node in model.graph.nodes if "matmul" in str(node.target) and KEY in node.meta]
    assert len(found) == rounded
    if found:
        scores, mixed = (node.meta[KEY] for node in found)
        assert scores.output_qspec is None and mixed.output_qspec is not None
        grids = [spec for spec in mixed.input_qspec_map.values() if hasattr(spec, "scale")]
        assert [spec.scale for spec in grids] == [1 / 256], "the shares of a softmax"
