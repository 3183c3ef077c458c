"""Models whose answers are not the same each time, or not of one shape: one sentence each."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.errors import TaskError
from edgekit.trace.model import export
from edgekit.trace.randomness import refuse
from edgekit.trace.recorder import Recorder


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


class Dropping(nn.Module):
    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always, self.other = always, nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(F.dropout(x, 0.5) if self.always else F.dropout(x, 0.5, self.training))


@pytest.mark.parametrize(
    ("model", "words"),
    [(Noisy(), "draws random numbers in forward"), (Dropping(True), "training=self.training")],
)
def test_what_is_random_is_refused_by_its_name(model: nn.Module, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        refuse(torch.export.export(model.eval(), (torch.zeros(1, 4),)))


def test_dropout_that_is_off_is_not() -> None:
    refuse(export(Dropping(False).eval(), (torch.zeros(1, 4),)))


def test_outputs_as_long_as_the_values_make_them_are_refused() -> None:
    recorder = Recorder(lambda x: [x[:, x[0] > 0]])
    for row in ([1, 1, 0], [1, 0, 0]):
        recorder(np.array([row], np.float32))
    with pytest.raises(TaskError, match=r"output 0 of the model is as long as .* \[2\] and \[1\].*nms"):
        recorder.kept()
