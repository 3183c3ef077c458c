"""Any torchvision classifier by name: for structure, parity and speed, not for ImageNet accuracy.

    edgekit export examples/torchvision_model.py:task --set model=resnet18 --target all -o out/

Without `weights` the net is random but seeded, and made to behave like a trained one: batch-norm statistics are
taken from the inputs, and the last layer becomes a classifier on the net's own random features. It has one class
per source image (smooth seeded noise, or your photos) and learns them, by ridge regression, from three distorted
copies of each. The metric is top-1 on other distorted copies. It shows how much of the float net's decisions an
artifact keeps; it says nothing about ImageNet, and not every random net reaches 1.0 in float.

The quantizable variants (`model=quantized_resnet18`) are built in float, `quantize=False`: edgekit quantizes them as any
other module, and their stubs are identities.

With `weights=DEFAULT` torchvision downloads its trained weights, `photos` is needed, and the metric is top-1 on
photos that are named as `imagenet.py` wants them.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torchvision
from imagenet import EXPECTED, Calibration, split
from imagenet import Top1 as PhotoTop1
from photos import Photos
from torch import nn

import edgekit as ek

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEARNING_COPIES = 3
BATCH = 20
RIDGE = 0.1
GAIN = 20.0  # the logit of the right class on a learning copy is about this; all others are about 0


def normalise(pixels: np.ndarray) -> np.ndarray:
    """Pixels [N, 3, H, W] in [0, 1] -> the input that torchvision's nets are trained for."""
    mean, std = (np.asarray(values, np.float32).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return ((pixels - mean) / std).astype(np.float32)


@cache
def sources(photos: str, size: int, seed: int, classes: int) -> np.ndarray:
    """[classes, 3, size, size] in [0, 1]: evenly spread photos, or smooth noise of four octaves."""
    if photos:
        found = Photos(photos)
        spread = [round(i) for i in np.linspace(0, len(found) - 1, min(classes, len(found)))]
        return np.concatenate([pixels for _, pixels in found.subset(spread).batches(BATCH, size)])
    generator = torch.Generator().manual_seed(seed)
    image = 0.5 + 0.8 * (torch.rand(classes, 3, 1, 1, generator=generator) - 0.5)
    for cells in (4, 12, 36, 112):
        noise = torch.rand(classes, 3, cells, cells, generator=generator) - 0.5
        strength = torch.rand(classes, 3, 1, 1, generator=generator)
        image = image + strength * nn.functional.interpolate(noise, (size, size), mode="bicubic")
    return image.clamp(0, 1).numpy()


class Copies:
    """Distorted copies of the source images: other contrast, and noise. Re-iterable and seeded."""

    def __init__(self, images: Callable[[], np.ndarray], each: int, seed: int) -> None:
        self.images, self.each, self.seed = images, each, seed

    def labelled(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(inputs [N, 3, H, W], index of the source image [N])"""
        images = self.images()
        labels = np.tile(np.arange(len(images)), self.each)
        random = np.random.RandomState(self.seed)
        for first in range(0, len(labels), BATCH):
            chosen = labels[first : first + BATCH]
            yield normalise(np.stack([_distort(images[i], random) for i in chosen])), chosen

    def __iter__(self) -> Iterator[np.ndarray]:
        return (inputs for inputs, _ in self.labelled())


def _distort(image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    contrast, noise = random.uniform(0.85, 1.15), random.normal(0, 0.03, image.shape)
    return np.clip((image - 0.5) * contrast + 0.5 + noise, 0, 1).astype(np.float32)


class CopyTop1:
    """Share of the copies that are assigned to their own source image."""

    def __init__(self, copies: Copies) -> None:
        self.copies = copies

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        pairs = [(np.asarray(predict(x)).argmax(1) == labels) for x, labels in self.copies.labelled()]
        return float(np.concatenate(pairs).mean())


def build_random(name: str, size: int, seed: int, learning: Copies) -> nn.Module:
    """The seeded net, with batch-norm statistics and a last layer that fit the learning copies."""
    builder = torchvision.models.get_model_builder(name)
    settings: dict[str, Any] = {"image_size": size} if name.startswith("vit_") else {}
    if name.removeprefix("quantized_") in ("googlenet", "inception_v3"):
        settings["init_weights"] = True
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = builder(weights=None, **settings).eval()
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.any():  # a head of zeros
                nn.init.xavier_uniform_(module.weight)
        fit_batch_norm(model, learning)
        _fit_head(model, learning)
    return model


def fit_batch_norm(model: nn.Module, learning: Iterable[np.ndarray]) -> None:
    """Gives every batch norm the statistics of the first batch."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # take the statistics of the one batch that follows
        norm.train()
    if norms:
        model(torch.from_numpy(next(iter(learning))))
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()


def _fit_head(model: nn.Module, learning: Copies) -> None:
    """Sets the first rows of the last layer by ridge regression on its input; the other rows can never win."""
    head = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    features, labels = _features(model, head, learning)
    centre, spread = features.mean(0), features.std()
    features = (features - centre) / spread
    kernel = features @ features.T
    kernel += torch.eye(len(kernel)) * kernel.trace() / len(kernel) * RIDGE
    classes = int(labels.max()) + 1
    wanted = GAIN * (nn.functional.one_hot(labels, classes).float() - 1 / classes)
    learned = torch.linalg.solve(kernel, wanted).T @ features / spread
    rows = head.weight.data.view(head.weight.shape[0], -1)
    rows *= learned.std() / rows.std()
    rows[:classes] = learned
    head.bias.copy_(-rows @ centre - GAIN)
    head.bias[:classes] += GAIN * (1 + 1 / classes)


def _features(model: nn.Module, head: nn.Module, learning: Copies) -> tuple[torch.Tensor, torch.Tensor]:
    """What reaches the last layer [N, features], a convolution's averaged over its positions, and the labels."""
    seen: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for inputs, index in learning.labelled():
        model(torch.from_numpy(inputs))
        labels.append(torch.from_numpy(index))
    hook.remove()
    features = torch.cat(seen)
    return features.flatten(2).mean(2) if features.ndim == 4 else features, torch.cat(labels)


def _trained(model: str, photos: str, size: int, weights: str) -> tuple[Any, Any, Any]:
    """Builder, calibration and metric with torchvision's own weights, on photos that carry their class."""
    if not photos:
        raise ek.TaskError(f"weights={weights} needs photos to score; expected is {EXPECTED}")
    found = Photos(photos)
    calibrate, score = split(len(found))
    calibration = Calibration(found.subset(calibrate), normalise, size)
    metric = PhotoTop1(found.subset(score), normalise, size)
    return partial(torchvision.models.get_model, model, weights=weights), calibration, metric


def task(
    model: str = "mobilenet_v3_small",
    photos: str = "",
    size: int = 224,
    seed: int = 0,
    weights: str = "",
    classes: int = 10,
    samples: int = 60,
) -> ek.Task:
    """The task for one torchvision classifier; `classes` source images, about `samples` copies in the metric."""
    places = (torchvision.models, torchvision.models.quantization)
    names = [name for place in places for name in torchvision.models.list_models(module=place)]
    if model not in names:
        close = difflib.get_close_matches(model, names, n=5, cutoff=0.4) or names
        raise ek.TaskError(f"torchvision has no classifier {model!r}; close names: {', '.join(close)}")
    if classes < 2 or samples < classes or size < 32:
        raise ek.TaskError(
            f"classes={classes}, samples={samples}, size={size}; at least 2 classes, as many samples, size 32"
        )
    if weights:
        builder, calibration, metric = _trained(model, photos, size, weights)
    else:
        images = partial(sources, photos, size, seed, classes)
        calibration = Copies(images, LEARNING_COPIES, seed + 1)
        builder = partial(build_random, model, size, seed, calibration)
        metric = CopyTop1(Copies(images, samples // classes, seed + 2))
    return ek.Task(
        name=f"torchvision-{model}",
        model=builder,
        example_inputs=(torch.zeros(1, 3, size, size),),
        calibration=calibration,
        metric=metric,
        preprocessing=ek.Preprocessing(mean=MEAN, std=STD, layout="NCHW"),
    )
