"""torch.cond and smooth resizes where a converter has none."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from quant_nets import targets, traced
from torch import nn

from edgekit.export._common_forms import rewritten


class Either(nn.Module):
    """Two answers of each branch, one with a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.cond(
            x.mean() > 0, lambda t: (self.layer(t), t * 2), lambda t: (t - 1, t.sin()), (x,)
        )
        return first + second


class Resized(nn.Module):
    def __init__(self, **how: Any) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, **self.how)


def test_both_are_computed_and_one_is_chosen() -> None:
    model = Either().eval()
    x = torch.rand(1, 4, generator=torch.Generator().manual_seed(0))
    program = traced(model, x)
    module = rewritten(program, "Core ML").module()
    names = targets(module)
    assert names.count("where.self") == 2 and "cond" not in names
    for sign in (1, -1):
        torch.testing.assert_close(module(sign * x), model(sign * x))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "how", [{"size": (7, 20)}, {"scale_factor": (0.45, 1.7)}, {"size": (5, 4), "align_corners": True}]
)
def test_a_resize_with_a_filter_is_two_products(mode: str, how: dict[str, Any]) -> None:
    model, x = Resized(mode=mode, antialias=True, **how), torch.rand(1, 3, 13, 12)
    module = rewritten(traced(model, x), "TFLite").module()
    assert targets(module) == ["matmul.default"] * 2
    torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_program_of_common_operators_is_left() -> None:
    program = traced(nn.Linear(4, 4), torch.zeros(1, 4))
    assert rewritten(program, "Core ML") is program
