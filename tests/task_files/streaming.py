"""A leaky sum over a stream: its state is an output that the metric feeds back as an input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import edgekit as ek

CLIPS, STEPS = 4, 25
AUDIO = np.random.default_rng(0).standard_normal((STEPS, CLIPS, 3)).astype(np.float32)


class Leaky(nn.Module):
    """(x [N, 3], state [N, 3]) -> (answer [N, 3], state)."""

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = state * 0.9 + x
        return torch.tanh(state), state


def answers(predict: Callable[..., Any]) -> np.ndarray:
    state, found = np.zeros((CLIPS, 3), np.float32), []
    for x in AUDIO:
        answer, state = (np.asarray(value) for value in predict(x, state))
        found.append(answer)
    return np.stack(found)


def fidelity(predict: Callable[..., Any]) -> float:
    model = Leaky()
    right = answers(lambda x, state: model(torch.from_numpy(x), torch.from_numpy(state)))
    return 1 - float(np.abs(answers(predict) - right).mean())


task = ek.Task(
    name="streaming",
    model=Leaky,
    example_inputs=(torch.zeros(1, 3), torch.zeros(1, 3)),
    metric=fidelity,
)
