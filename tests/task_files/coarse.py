"""A small net on real digits that two-bit weights ruin, with the data to train it on; `nan` has a loss that breaks."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import edgekit as ek

PIXELS, LABELS = (torch.tensor(part) for part in load_digits(return_X_y=True))
IMAGES = (PIXELS.float().reshape(-1, 1, 8, 8) - 8) / 8
ORDER = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = ORDER[:1200], ORDER[1200:]


class Batches:
    """Re-iterable, in an order that torch's generator draws."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for chosen in torch.randperm(len(TRAIN)).split(32):
            yield IMAGES[TRAIN[chosen]], LABELS[TRAIN[chosen]]


def trained() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 3), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(8):
        for x, y in Batches():
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.eval()


def top1(predict: Callable[[np.ndarray], np.ndarray]) -> float:
    return float((np.asarray(predict(IMAGES[TEST].numpy())).argmax(1) == LABELS[TEST].numpy()).mean())


def make(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> ek.Task:
    return ek.Task(
        name="coarse",
        model=trained,
        example_inputs=(torch.zeros(1, 1, 8, 8),),
        calibration=[IMAGES[TRAIN[:64]]],
        metric=top1,
        training=ek.Training(batches=Batches(), loss=loss),
    )


def task() -> ek.Task:
    return make(F.cross_entropy)


def nan() -> ek.Task:
    return make(lambda outputs, labels: F.cross_entropy(outputs, labels) * float("nan"))
