"""A small net trained on real digits, for techniques that make weights zero or few."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from digits_data import IMAGES, TRAIN, candidate_of, task_of, taught
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.quant import program as programs
from edgekit.records import Candidate, Quant, Step

INT8 = Quant(activation_dtype="int8", weight_bits=8, granularity="per_channel", symmetric_activations=False)


class Net(nn.Module):
    """Norms, a depthwise convolution, a linear layer; every kind of weight a pattern may meet."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.depth = nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.BatchNorm2d(16), nn.ReLU())
        self.point = nn.Sequential(nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.hidden, self.head = nn.Linear(32, 24), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(self.point(self.depth(self.first(x))), 1)
        return self.head(F.relu(self.hidden(x.view(x.shape[0], -1))))


def trained(epochs: int = 12) -> nn.Module:
    torch.manual_seed(0)
    return taught(Net(), epochs)


@cache
def model() -> nn.Module:
    return trained()


def made(folder: Path, *steps: Step, precision: Any = "float32", quant: Quant | None = None) -> Candidate:
    """The trained net as a candidate with the steps of a recipe."""
    return candidate_of(model(), folder / "float.pt2", *steps, precision=precision, quant=quant)


def task(**changed: Any) -> ek.Task:
    return task_of(Net, **{"calibration": [IMAGES[TRAIN[:64]]], **changed})


def weights(candidate: Candidate) -> dict[str, torch.Tensor]:
    """The stored weights of convolutions and linear layers by dotted name."""
    state = programs.load(candidate.program).state_dict
    return {name: tensor for name, tensor in state.items() if name.endswith("weight") and tensor.dim() > 1}


def share_of_zeros(candidate: Candidate) -> float:
    found = list(weights(candidate).values())
    return sum(int((w == 0).sum()) for w in found) / sum(w.numel() for w in found)
