"""The networks of `benchmarks/runtimes.py`, each as a task: EfficientNet-Lite0 with its weights, torchvision's without."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

import edgekit as ek

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
IMAGES = 32


def task(net: str, photos: str = "", size: str = "224") -> ek.Task:
    """Lite0 on photos, which score it; another net on random images, by the answers of its own random weights."""
    if net == "lite0":
        import imagenet

        return imagenet.task(photos)
    side = int(size)
    images = np.random.default_rng(0).normal(size=(IMAGES, 3, side, side)).astype(np.float32)

    def build() -> nn.Module:
        torch.manual_seed(0)
        return getattr(torchvision.models, net)(weights=None).eval()

    with torch.no_grad():
        wanted = build()(torch.from_numpy(images)).argmax(1).numpy()

    def agreement(predict: Callable[[np.ndarray], np.ndarray]) -> float:
        return float((np.asarray(predict(images)).argmax(1) == wanted).mean())

    return ek.Task(
        name=net,
        model=build,
        example_inputs=(torch.zeros(1, 3, side, side),),
        calibration=[images[: IMAGES // 2]],
        metric=agreement,
    )
