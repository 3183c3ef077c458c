"""A program of fixed shapes whose samples become free."""

from pathlib import Path

import torch
from torch import nn

from edgekit.quant import program
from edgekit.quant.freeing import freed
from edgekit.task import Task
from edgekit.trace.opening import opened


class Last(nn.Module):
    """The last step of each padded sequence: a length of 0 is none."""

    def forward(self, x: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        return x.gather(1, length[:, None] - 1)


def test_lengths_are_never_zero(tmp_path: Path) -> None:
    examples = torch.randn(1, 5), torch.tensor([3])
    given = Task(name="last", model=Last(), example_inputs=examples, metric=lambda predict: 1.0)
    subject = opened(given, tmp_path)[1]
    assert subject.free is not None and not subject.free.reason
    found = freed(program.load(subject.program), subject.free).module()
    x, length = torch.randn(3, 5), torch.tensor([1, 5, 2])
    torch.testing.assert_close(found(x, length), Last()(x, length))
