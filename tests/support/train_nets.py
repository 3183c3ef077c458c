"""Small tasks that a training can be tried on: two clouds of points, and every way to spoil them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import edgekit as ek


class Clouds:
    """Re-iterable batches of points [N, 8] around four centres, drawn and shuffled anew each epoch."""

    def __init__(self, batches: int = 8, size: int = 16, draws: bool = True) -> None:
        self.batches, self.size, self.draws = batches, size, draws

    def __iter__(self) -> Iterator[Any]:
        generator = None if self.draws else torch.Generator().manual_seed(3)
        centres = torch.randn(4, 8, generator=torch.Generator().manual_seed(7)) * 2
        for _ in range(self.batches):
            labels = torch.randint(0, 4, (self.size,), generator=generator)
            yield centres[labels] + torch.randn(self.size, 8, generator=generator), labels


def net(dropout: float = 0.0, norm: bool = False, classes: int = 4) -> nn.Module:
    torch.manual_seed(1)
    middle: list[nn.Module] = [nn.BatchNorm1d(32)] if norm else []
    return nn.Sequential(
        nn.Linear(8, 32), *middle, nn.ReLU(), nn.Dropout(dropout), nn.Sequential(nn.Linear(32, 32), nn.ReLU()),
        nn.Linear(32, classes),
    )  # fmt: skip


def training(batches: Any = None, loss: Any = F.cross_entropy) -> ek.Training:
    return ek.Training(batches=Clouds() if batches is None else batches, loss=loss)


class Slow(Clouds):
    """Batches that take their time, so that a process can be killed among them."""

    def __iter__(self) -> Iterator[Any]:
        import time

        for batch in super().__iter__():
            time.sleep(0.05)
            yield batch


def task(
    batches: int = 8,
    size: int = 16,
    draws: bool = True,
    classes: int = 4,
    dropout: float = 0.0,
    slow: bool = False,
) -> ek.Task:
    kind = Slow if slow else Clouds
    return ek.Task(
        name="clouds",
        model=lambda: net(dropout, classes=classes),
        example_inputs=(torch.zeros(1, 8),),
        metric=lambda predict: 1.0,
        training=training(kind(batches, size, draws)),
        calibration=[inputs for inputs, _ in Clouds(4, draws=False)],
    )


def without_training() -> ek.Task:
    return ek.Task(name="none", model=net, example_inputs=(torch.zeros(1, 8),), metric=lambda predict: 1.0)


def contrary() -> nn.Module:
    """A teacher of other answers than the net's."""
    model = net()
    with torch.no_grad():
        model[-1].weight.mul_(-2)
    return model
