"""Operators that some converter lacks, in operators that all have: the same function, none of the former left."""

import pytest
import torch
from quant_nets import targets, traced
from torch import nn
from torch.nn import functional as F

X = torch.randn(1, 4, 6, 8, generator=torch.Generator().manual_seed(0))
LOW, HIGH = torch.tensor([-0.5] * 8), torch.tensor([0.25] * 8)


class Of(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.abs().float().to(torch.float32), ["abs.default"]),
        (lambda x: torch.add(x, x.abs(), alpha=0.5), ["abs.default", "mul.Tensor", "add.Tensor"]),
        (lambda x: torch.sub(x, 3, alpha=2), ["sub.Tensor"]),
        (lambda x: torch.rsub(x, 1.5, alpha=2), ["mul.Tensor", "rsub.Scalar"]),
        (lambda x: torch.rsub(x, x.abs(), alpha=2), ["abs.default", "mul.Tensor", "sub.Tensor"]),
        (lambda x: ((x > 0) & (x < 1)).float(),
         ["gt.Scalar", "lt.Scalar", "logical_and.default", "to.dtype"]),
        (lambda x: ((x > 0) | (x < -1)).float(),
         ["gt.Scalar", "lt.Scalar", "logical_or.default", "to.dtype"]),
        (lambda x: ((x > 0) ^ (x < 1)).float(), ["gt.Scalar", "lt.Scalar", "ne.Tensor", "to.dtype"]),
        (lambda x: x * x.new_ones(6, 1) + torch.zeros_like(x[:, :1]), ["mul.Tensor", "add.Tensor"]),
        (lambda x: x * x.new_full((8,), 2.5), ["mul.Tensor"]),
        (lambda x: F.interpolate(x, scale_factor=1.7), ["index_select.default"] * 2),
        (lambda x: F.interpolate(x, size=(5, 11), mode="nearest-exact"), ["index_select.default"] * 2),
        (lambda x: F.interpolate(x, scale_factor=3, mode="nearest-exact"), ["upsample_nearest2d.vec"]),
        (lambda x: F.interpolate(x, scale_factor=2), ["upsample_nearest2d.vec"]),
        (lambda x: torch.clamp(x, min=LOW, max=HIGH), ["maximum.default", "minimum.default"]),
        (lambda x: F.pad(x, (1, 2, 3, 0), mode="circular"), ["cat.default"] * 2),
        (lambda x: F.pad(x, (-1, 2, 0, -2), value=3.0), ["pad.default"]),
        (lambda x: F.pad(x, (-1, -2)), []),
        (lambda x: F.adaptive_max_pool2d(x, (3, 2)), ["max_pool2d.default"]),
        (lambda x: F.adaptive_max_pool2d(x, (4, 3)), ["amax.default"] * 4 + ["cat.default"] + ["amax.default"] * 3 + ["cat.default"]),
        (lambda x: F.one_hot(x.argmax(1), 4).float(),
         ["argmax.default", "unsqueeze.default", "eq.Tensor", "to.dtype", "to.dtype"]),
        (lambda x: torch.cdist(x[0], x[0] + 1, p=1),
         ["select.int", "select.int", "add.Tensor", "unsqueeze.default", "unsqueeze.default", "sub.Tensor", "abs.default", "sum.dim_IntList"]),
        (lambda x: torch.cdist(x, LOW + x.abs()),
         ["abs.default", "add.Tensor", "unsqueeze.default", "unsqueeze.default", "sub.Tensor", "mul.Tensor", "sum.dim_IntList", "sqrt.default"]),
        (lambda x: torch.cdist(x.reshape(1, 48, 4), x.reshape(1, 48, 4) * 2),
         ["reshape.default", "reshape.default", "mul.Tensor", "transpose.int", "matmul.default", "mul.Tensor", "mul.Tensor", "sum.dim_IntList", "add.Tensor",
          "mul.Tensor", "sum.dim_IntList", "add.Tensor", "clamp_min.default", "sqrt.default"]),
        (lambda x: F.fold(x.reshape(1, 16, 12), (6, 8), 2, stride=2),
         ["reshape.default", "reshape.default", "permute.default", "reshape.default"]),
        (lambda x: F.fold(x.reshape(1, 48, 4), (5, 6), (2, 3), dilation=(2, 1), padding=(1, 0), stride=(3, 2)),
         ["reshape.default", "reshape.default", "conv_transpose2d.input"]),
    ],
)  # fmt: skip
def test_what_becomes_of_an_operator(function, expected: list[str]) -> None:
    model = Of(function).eval()
    graph_module = traced(model, X).module()
    assert [name for name in targets(graph_module) if not name.startswith(("_assert", "slice"))] == expected
    torch.testing.assert_close(graph_module(X), model(X))


def test_rms_norm_gets_the_eps_that_torch_takes() -> None:
    model = nn.RMSNorm(8)
    graph_module = traced(model, X).module()
    (norm,) = (node for node in graph_module.graph.nodes if "rms_norm" in str(node.target))
    assert norm.args[3] == torch.finfo(torch.float32).eps
    torch.testing.assert_close(graph_module(X), model(X))
