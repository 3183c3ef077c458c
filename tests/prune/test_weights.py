"""The weights of a program in the module it came from."""

import prune_nets as nets
import pytest
import torch
from torch import nn

from edgekit.errors import ConversionError
from edgekit.prune.weights import fill
from edgekit.trace.model import export

EXAMPLE = (torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)


@pytest.mark.parametrize("kind", [nets.Residual, nets.Mobile, nets.Transformer])
def test_the_module_answers_as_the_program(kind: type[nn.Module]) -> None:
    program = export(nets.made(kind), EXAMPLE)
    torch.manual_seed(5)
    other = kind()
    fill(other, program, EXAMPLE)
    assert torch.allclose(other.eval()(*EXAMPLE), program.module()(*EXAMPLE), atol=1e-5)


def test_a_program_of_another_net() -> None:
    program = export(nets.made(nets.Residual), EXAMPLE)
    with pytest.raises(
        ConversionError, match=r"does not fit the model of the task, Plain: .* is in the program alone"
    ):
        fill(nets.made(nets.Plain), program, EXAMPLE)
    with pytest.raises(
        ConversionError, match=r"conv1\.weight is \[16, 1, 3, 3\] in the program and \[24, 1, 3, 3\]"
    ):
        fill(nets.made(nets.Residual, width=24), program, EXAMPLE)


def test_a_program_that_computes_something_else() -> None:
    class Other(nets.Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x * 2)

    with pytest.raises(ConversionError, match=r"the model of the task, Plain, .* answers something else, by"):
        fill(nets.made(nets.Plain), export(nets.made(Other), EXAMPLE), EXAMPLE)
