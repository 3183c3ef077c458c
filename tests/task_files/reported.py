"""Small nets of situations that users of converters reported; each task is a function, judged by what it keeps of its float answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import edgekit as ek

Inputs = tuple[torch.Tensor, ...]


class Outlier(nn.Module):
    """RMS norms of activations with one number of 3000, whose square no float16 holds (coremltools#2821)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.mix = nn.Linear(16, 64), nn.RMSNorm(64, 1e-6), nn.Linear(64, 64)
        self.last_norm, self.last = nn.RMSNorm(64), nn.Linear(64, 8)
        with torch.no_grad():
            self.first.bias[5] = 3000.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.last(self.last_norm(h + self.mix(self.norm(h))))


class BothWays(nn.Module):
    """A GRU of two layers and directions whose last states are the answer (coremltools#755, #824)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = nn.GRU(8, 12, 2, batch_first=True, bidirectional=True), nn.Linear(24, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, h = self.cells(x)
        return self.last(torch.cat([h[-2], h[-1]], -1))


class Flat(nn.Module):
    """torch.flatten without a first axis: works for one sample alone (litert-torch#150)."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.last = nn.Conv2d(1, 6, 3), nn.Linear(6 * 36, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.flatten(torch.relu(self.look(x))))


class Normed(nn.Module):
    """Parametrized weights, and weights that do not lie in memory as they are read (executorch#3946)."""

    def __init__(self) -> None:
        super().__init__()
        normed = nn.utils.parametrizations
        self.a = normed.weight_norm(nn.Conv2d(3, 8, 3, padding=1))
        self.b = normed.spectral_norm(nn.Conv2d(8, 8, 3, padding=1))
        self.w = nn.Parameter(torch.randn(8, 6).t())
        self.k = nn.Parameter(torch.randn(1, 8, 1, 1).expand(1, 8, 14, 14))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (torch.relu(self.b(torch.relu(self.a(x)))) + self.k).mean((2, 3)) @ self.w.t()


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "outlier": (Outlier, ((10, 16),)),
    "both_ways": (BothWays, ((9, 8),)),
    "flat": (Flat, ((1, 8, 8),)),
    "normed": (Normed, ((3, 14, 14),)),
}


def _drawn(name: str, count: int, seed: int) -> list[Inputs]:
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randn(1, *shape, generator=generator) for shape in NETS[name][1]) for _ in range(count)
    ]


class Kept:
    """One less the relative error to the float answers."""

    def __init__(self, model: nn.Module, data: list[Inputs]) -> None:
        self.model, self.data = model, data

    def __call__(self, predict: Callable[..., Any]) -> float:
        with torch.no_grad():
            right = np.stack([self.model(*inputs).numpy() for inputs in self.data])
        got = np.stack([np.asarray(predict(*(x.numpy() for x in inputs))) for inputs in self.data])
        return float(1 - np.linalg.norm(got - right) / np.linalg.norm(right))


def task(net: str = "outlier") -> ek.Task:
    torch.manual_seed(0)
    model = NETS[net][0]().eval()
    if net == "normed":
        model = model.to(memory_format=torch.channels_last)
    data = _drawn(net, 12, 1)
    return ek.Task(
        name=net,
        model=model,
        example_inputs=data[0],
        calibration=_drawn(net, 16, 0),
        metric=Kept(model, data),
    )
