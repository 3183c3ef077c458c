"""The task of benchmarks/distill.py: examples/cifar10.py, with labels for all training images or for the first few."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgekit as ek

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import cifar10

FRESH_SEED = 0


class Images:
    """Shuffled, shifted and mirrored batches of the images from `first` to `last` - 1; without labels images alone."""

    def __init__(self, place: str, size: int, first: int, last: int | None, labelled: bool) -> None:
        self.place, self.size, self.labelled = place, size, labelled
        self.first, self.last = first, last

    def __iter__(self) -> Iterator[Any]:
        pixels, labels = (part[self.first : self.last] for part in cifar10.images(self.place))
        for chosen in torch.randperm(len(labels)).split(self.size):
            rows = np.asarray(chosen)
            x = cifar10.augment(cifar10.normalise(pixels[rows]))
            yield (x, torch.from_numpy(labels[rows])) if self.labelled else x


def task(weights: str = "", train: str = "", test: str = "", batch: int = 32, labels: int = 0) -> ek.Task:
    """labels: how many training images have one, the others come as unlabelled; 0 = all."""
    whole = cifar10.task(weights, train, test, batch)
    assert whole.training is not None
    if not labels:
        return whole
    training = ek.Training(
        batches=Images(train, batch, 0, labels, True),
        loss=whole.training.loss,
        unlabelled=Images(train, batch, labels, None, False),
    )
    return dataclasses.replace(whole, training=training)


def fresh() -> nn.Module:
    """A ResNet-8 that was never trained: 78 thousand weights, 12 million multiply-accumulates."""
    torch.manual_seed(FRESH_SEED)
    return cifar10.ResNet(1)
