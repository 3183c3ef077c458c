"""Nets whose trouble is known: `outlier` ruins integers in one place, `overflow` leaves float16's range."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import edgekit as ek

SIDE, CLASSES = 24, 10
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((96, 3, SIDE, SIDE)).astype(np.float32)


class Net(nn.Module):
    """[N, 3, 24, 24] -> [N, 10]; `spread` to `gather` is where trouble is planted."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU())
        self.spread = nn.Conv2d(16, 16, 1)
        self.gather = nn.Conv2d(16, 16, 1)
        self.wide = nn.Sequential(nn.Conv2d(16, 96, 3, padding=1), nn.ReLU(), nn.Conv2d(96, 96, 3, padding=1))
        self.head = nn.Linear(96, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.gather(self.spread(self.stem(x))))
        return self.head(torch.relu(self.wide(x)).mean((2, 3)))


@torch.no_grad()
def float_net() -> nn.Module:
    """Answers vary from image to image: the mean of each class is taken away."""
    net = Net().eval()
    net.head.bias -= net(torch.from_numpy(IMAGES)).mean(0)
    return net


@torch.no_grad()
def outlier_net() -> nn.Module:
    """A constant of 3000 on channel 0 behind `spread`, taken away again by the bias of `gather`."""
    net = float_net()
    net.gather.bias -= net.gather.weight[:, 0, 0, 0] * 3000
    net.spread.bias[0] += 3000
    return net


@torch.no_grad()
def overflow_net() -> nn.Module:
    """A factor of 300 000 on all channels behind `spread`, taken away again by `gather`."""
    net = float_net()
    net.spread.weight *= 3e5
    net.spread.bias *= 3e5
    net.gather.weight /= 3e5
    return net


class Agreement:
    """Share of images that get the answer of the float net."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self.build = build

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        images = IMAGES[32:]
        with torch.no_grad():
            right = self.build()(torch.from_numpy(images)).argmax(1).numpy()
        return float((np.asarray(predict(images)).argmax(1) == right).mean())


def make(name: str, build: Callable[[], nn.Module]) -> ek.Task:
    return ek.Task(
        name=name,
        model=build,
        example_inputs=(torch.zeros(1, 3, SIDE, SIDE),),
        calibration=[IMAGES[:16], IMAGES[16:32]],
        metric=Agreement(build),
    )


def plain() -> ek.Task:
    return make("plain", float_net)


def outlier() -> ek.Task:
    return make("outlier", outlier_net)


def overflow() -> ek.Task:
    return make("overflow", overflow_net)
