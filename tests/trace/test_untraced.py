"""What torch.export cannot trace: each usual cause with the user's own line and what to write instead."""

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from edgekit.errors import ConversionError, TaskError
from edgekit.trace.model import export


class If(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        if x.sum() > 0:
            return x
        return -x


class Choice(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return x if x.sum() > 0 else -x


class While(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        while x.abs().max() > 1e-3:
            x = x / 2
        return x


class Steps(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        for _ in range(int(x.abs().sum())):
            x = x + 1
        return x


class Item(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        n = x.abs().max().item()
        return x if n > 1 else x * n


class Assert(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        assert x.sum() < 100
        return x


class Numpy(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return torch.from_numpy(np.sin(x.numpy()))


class Mask(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        kept = x[x > 0]
        return kept.reshape(1, -1) if kept.shape[0] > 2 else x


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        lengths = (x > 0).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(x[:, :, None].expand(-1, -1, 4), lengths, batch_first=True)
        return self.cells(packed)[1]


@pytest.mark.parametrize(
    ("model", "line", "what", "instead"),
    [
        (Packed, "self.cells(packed)", "as in a packed sequence", "gather with the lengths"),
        (If, "if x.sum() > 0:", "an `if` that depends on a tensor's values", "torch.where"),
        (Choice, "return x if x.sum() > 0 else -x", "a choice that depends on a tensor's values", "torch.where"),
        (While, "while x.abs().max() > 1e-3:", "a `while` that depends", "a fixed number of steps"),
        (Steps, "for _ in range(int(x.abs().sum())):", "a loop whose length is a tensor's value", "a fixed number"),
        (Item, "return x if n > 1 else x * n", "a choice that depends on a tensor's values", "torch.where"),
        (Numpy, "np.sin(x.numpy())", "numpy computes on a tensor", "the function of torch"),
        (Mask, "kept", "depends on", "torch.where"),
    ],
)  # fmt: skip
def test_the_usual_causes(model: type[nn.Module], line: str, what: str, instead: str) -> None:
    with pytest.raises(ConversionError) as caught:
        export(model().eval(), (torch.ones(1, 4),))
    said = str(caught.value)
    assert said.startswith("torch.export cannot trace the model at test_untraced.py, line "), said
    assert line in said and what in said and instead in said, said
    assert "\n" not in said


class Kept(nn.Module):
    """A detector that ends in nms."""

    def __init__(self, most: int | None, whole: bool = True) -> None:
        super().__init__()
        self.most, self.whole = most, whole

    def forward(self, boxes: torch.Tensor) -> torch.Tensor:
        kept = boxes[0, torchvision.ops.nms(boxes[0], boxes[0, :, 0], 0.5)[: self.most]]
        return kept if self.whole else kept.mean(0, keepdim=True)


@pytest.mark.parametrize("most", [None, 5])
def test_an_answer_as_long_as_values_say_is_refused_with_its_operator(most: int | None) -> None:
    with pytest.raises(
        ConversionError, match=r"as long as values say, because of torchvision\.nms\.default from the model"
    ):
        export(Kept(most), (torch.rand(1, 6, 4),))
    export(Kept(most, whole=False), (torch.rand(1, 6, 4),))


def test_a_sparse_tensor_is_refused_by_its_name() -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("links", torch.eye(4).to_sparse())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sparse.mm(self.links, x.t()).t()

    with pytest.raises(TaskError, match=r"the model holds links as a sparse tensor \(sparse_coo\)"):
        export(Sparse(), (torch.ones(1, 4),))


def test_an_error_of_no_known_kind_is_quoted() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            if torch.compiler.is_exporting():
                raise KeyError("no such thing")
            return x

    with pytest.raises(ConversionError, match=r"line \d+: `raise KeyError.*`: KeyError: 'no such thing'"):
        export(Odd(), (torch.ones(1, 4),))
