"""A good task of a tiny net, and every way to spoil it: `small.py:task` works, the other functions do not."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

import edgekit as ek

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((16, 3, 8, 8)).astype(np.float32)
Predict = Callable[[np.ndarray], np.ndarray]


class Net(nn.Module):
    """[N, 3, 8, 8] -> [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3, padding=1)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


def seeded() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def score(predict: Predict, images: np.ndarray = IMAGES) -> float:
    """Share of images for which the answer is the one of the seeded net."""
    with torch.no_grad():
        right = seeded()(torch.from_numpy(images)).argmax(1).numpy()
    return float((predict(images).argmax(1) == right).mean())


def make(**changed: Any) -> ek.Task:
    good = {
        "name": "small",
        "model": seeded,
        "example_inputs": (torch.zeros(1, 3, 8, 8),),
        "calibration": [IMAGES[:8], IMAGES[8:]],
        "metric": score,
    }
    return ek.Task(**{**good, **changed})


def task(width: int = 10) -> ek.Task:
    return make()


def photo() -> ek.Task:
    """Of photos that are resized, cropped and normalised."""
    asked = ek.Preprocessing(
        mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), layout="NCHW", resize=12, crop=(8, 8), labels=tuple("abcdefghij")
    )  # fmt: skip
    return make(preprocessing=asked)


number = 3


# -- the function, the model


def task_raises() -> ek.Task:
    raise ValueError("no such weights")


def no_task() -> Any:
    return {"model": Net()}


class ForwardRaises(Net):
    def forward(self, x: torch.Tensor) -> Any:
        raise ValueError("this layer was never finished")


class Boxes:
    """No tensor, and nothing that holds any."""


class ForwardObject(Net):
    def forward(self, x: torch.Tensor) -> Any:
        return {"logits": super().forward(x), "boxes": Boxes()}


class ForwardNaN(Net):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x) / 0 * 0


class Branches(Net):
    """What torch.export cannot trace."""

    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x) if x.sum() > 0 else x.mean((2, 3))


def model_raises() -> ek.Task:
    def missing() -> nn.Module:
        raise FileNotFoundError("weights.pt")

    return make(model=missing)


def no_module() -> ek.Task:
    return make(model=lambda: [1, 2])


def forward_raises() -> ek.Task:
    return make(model=ForwardRaises())


def forward_object() -> ek.Task:
    return make(model=ForwardObject())


def forward_nan() -> ek.Task:
    return make(model=ForwardNaN())


def branches() -> ek.Task:
    return make(model=Branches())


# -- the example inputs


def wrong_shape() -> ek.Task:
    return make(example_inputs=(torch.zeros(1, 1, 8, 8),))


def wrong_dtype() -> ek.Task:
    return make(example_inputs=(torch.zeros(1, 3, 8, 8, dtype=torch.int64),))


def complex_dtype() -> ek.Task:
    return make(example_inputs=(torch.zeros(1, 3, 8, 8, dtype=torch.complex64),))


def batch_of_two() -> ek.Task:
    return make(example_inputs=(torch.zeros(2, 3, 8, 8),))


def no_tensor() -> ek.Task:
    return make(example_inputs=([0.0],))


def bare_tensor() -> ek.Task:
    return make(example_inputs=torch.zeros(1, 3, 8, 8))


# -- the calibration


def no_calibration() -> ek.Task:
    return make(calibration=None)


def calibration_raw() -> ek.Task:
    """Pixels of 0 to 255, where the metric's are normalized."""
    return make(calibration=[IMAGES[:8] * 64 + 121])


def _one_bad(value: float) -> list[np.ndarray]:
    bad = IMAGES[:2].copy()
    bad[1, 0, 0, 0] = value
    return [IMAGES[:2], bad]


def calibration_empty() -> ek.Task:
    return make(calibration=[])


def calibration_shape() -> ek.Task:
    return make(calibration=[IMAGES[:2], IMAGES[:2, :, :4]])


def calibration_nan() -> ek.Task:
    return make(calibration=_one_bad(np.nan))


def calibration_inf() -> ek.Task:
    return make(calibration=_one_bad(np.inf))


def calibration_text() -> ek.Task:
    return make(calibration=["photo.jpg"])


def calibration_once() -> ek.Task:
    return make(calibration=(IMAGES[i : i + 1] for i in range(4)))


class Unreadable:
    def __iter__(self) -> Iterator[np.ndarray]:
        yield IMAGES[:1]
        raise OSError("photo 2 is damaged")


def calibration_raises() -> ek.Task:
    return make(calibration=Unreadable())


# -- the metric


def metric_raises() -> ek.Task:
    def metric(predict: Predict) -> float:
        return 1 / (predict(IMAGES).size * 0)

    return make(metric=metric)


def metric_nan() -> ek.Task:
    return make(metric=lambda predict: float(predict(IMAGES).mean() * np.nan))


def metric_text() -> ek.Task:
    return make(metric=lambda predict: f"{predict(IMAGES).mean()} %")


def metric_silent() -> ek.Task:
    return make(metric=lambda predict: 1.0)


def metric_wrong_input() -> ek.Task:
    return make(metric=lambda predict: float(predict(IMAGES[:, :, :4]).mean()))


def metric_random() -> ek.Task:
    fresh = np.random.default_rng()  # seeded by the operating system
    return make(
        metric=lambda predict: float(predict(fresh.random((4, 3, 8, 8), np.float32)).mean() > -100),
        calibration=None,
    )


def metric_half_random() -> ek.Task:
    """Always the same eight images, and two new ones each time."""
    fresh = np.random.default_rng()

    def metric(predict: Predict) -> float:
        return float(predict(IMAGES[:8]).mean() + predict(fresh.random((2, 3, 8, 8), np.float32)).mean())

    return make(metric=metric)


def metric_noisy() -> ek.Task:
    """The same images, and a figure that has nothing to do with the answers."""
    figures = iter([0.9, 0.7, 0.9])
    return make(metric=lambda predict: next(figures) + 0 * predict(IMAGES).size)


def metric_draws() -> ek.Task:
    """Fine: drawn from the global generator, which edgekit seeds."""
    return make(metric=lambda predict: score(predict, IMAGES[np.random.permutation(16)[:12]]))


def metric_tensor() -> ek.Task:
    """Fine: a number in a tensor."""
    return make(metric=lambda predict: torch.tensor(score(predict)))
