"""Parts of forward under no_grad and autocast."""

import pytest
import torch
from quant_nets import targets, traced
from torch import nn

from edgekit.errors import TaskError
from edgekit.quant.unwrapped import check_autocast


class Wrapped(nn.Module):
    """A wrap in a wrap, with a layer and several answers."""

    def __init__(self, autocast: bool) -> None:
        super().__init__()
        self.layer, self.autocast = nn.Linear(4, 4), autocast

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = self.layer(x)
            with torch.autocast("cpu", enabled=self.autocast, dtype=torch.bfloat16):
                z = y @ y.t()
        return z + torch.relu(y).sum() + x.mean()


def test_what_is_wrapped_is_part_of_the_graph() -> None:
    model, x = Wrapped(autocast=False).eval(), torch.randn(1, 4)
    graph_module = traced(model, x).module()
    names = targets(graph_module)
    assert names[0] == "linear.default" and not any("wrap" in name for name in names)
    torch.testing.assert_close(graph_module(x), model(x))


def test_a_precision_that_forward_chooses_is_refused() -> None:
    model, x = Wrapped(autocast=True).eval(), torch.randn(1, 4)
    with pytest.raises(
        TaskError,
        match=r"forward turns autocast on \(bfloat16\): the model itself \(Wrapped\) computes in it",
    ):
        check_autocast(torch.export.export(model, (x,)).module())
