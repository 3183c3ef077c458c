"""An LSTM whose first state is of other samples than its input is refused before torch's kernel writes beside its memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.errors import ConversionError, TaskError
from edgekit.quant import first_states
from edgekit.task import Task
from edgekit.trace.opening import opened
from edgekit.trace.stage import _call

X, H = torch.zeros(6, 1, 4), torch.zeros(1, 1, 8)


class Bare(nn.Module):
    """Calls the kernel without the checks of nn.LSTM, as an exported program does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 8)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = self.layer._flat_weights
        y, h_out, _ = torch._VF.lstm(x, (h, h), weights, True, 1, 0.0, False, False, False)
        return y, h_out


class Checked(Bare):
    """The same by nn.LSTM."""

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, (h_out, _) = self.layer(x, (h, h))
        return y, h_out


def task(model: Any, h: int | None, dynamic: Mapping[str, Any] | None = None) -> Task:
    return Task(
        name="states", model=model, example_inputs=(X, H), metric=lambda predict: 1.0, batch_axes={"x": 1, "h": h},
        dynamic=dynamic,
    )  # fmt: skip


def program() -> torch.export.ExportedProgram:
    return torch.export.export(Bare().eval(), (X, H))


@pytest.mark.parametrize("model", [Bare(), program(), torch.jit.trace(Bare(), (X, H))])
def test_free_samples_beside_a_state_of_one(model: Any, tmp_path: Path) -> None:
    with pytest.raises((TaskError, ConversionError), match=r"first state of .* is of 1 sample and its input"):
        opened(task(model, None, {"x": {1: "batch"}}), tmp_path)


def test_nobody_asked_for_free_samples(tmp_path: Path) -> None:
    subject = opened(task(Bare(), None), tmp_path)[1]
    assert subject.free is not None and "first state of" in subject.free.reason
    with pytest.raises(ConversionError, match=r"1 sample and its input of 3.*batch_axes="):
        _call(subject.call, subject, (torch.zeros(3, 6, 4).numpy(), torch.zeros(3, 1, 1, 8).numpy()))


@pytest.mark.parametrize("model", [Bare(), Checked()])
def test_a_state_that_is_freed_with_its_input(model: nn.Module, tmp_path: Path) -> None:
    subject = opened(task(model, 1, {"x": {1: "batch"}, "h": {1: "batch"}}), tmp_path)[1]
    assert subject.free is not None and not subject.free.reason
    answers = _call(subject.call, subject, (torch.zeros(3, 6, 4).numpy(), torch.zeros(3, 1, 8).numpy()))
    assert [a.shape for a in answers] == [(3, 6, 8), (3, 1, 8)]


def test_a_condition_is_run_under_the_guard() -> None:
    def call(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.cond(x.mean() > 0, lambda t: t * 2, lambda t: t - 1, (x,))
        return found

    assert first_states.guarded(call)(torch.ones(1, 2)).tolist() == [[2, 2]]
