"""torch.cond where a converter has none."""

import torch
from quant_nets import targets, traced
from torch import nn

from edgekit.export._branches import without_branches
from edgekit.export._tflite_forms import for_litert


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


def test_both_are_computed_and_one_is_chosen() -> None:
    model = Either().eval()
    x = torch.rand(1, 4, generator=torch.Generator().manual_seed(0))
    program = traced(model, x)
    for module in (for_litert(program.module()), without_branches(program).module()):
        names = targets(module)
        assert names.count("where.self") == 2 and "cond" not in names
        for sign in (1, -1):
            torch.testing.assert_close(module(sign * x), model(sign * x))


def test_a_program_without_branches_is_left() -> None:
    program = traced(nn.Linear(4, 4), torch.zeros(1, 4))
    assert without_branches(program) is program
