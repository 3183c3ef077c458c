"""A torchvision segmentation net on scenes that are drawn: for structure, parity and speed, not for real photos.

    edgekit export examples/segmentation.py:task --set model=lraspp_mobilenet_v3_large --target all -o out/

The net is random but seeded, and made to behave like a trained one: its batch norms take their statistics from scenes, and the last
1x1 convolutions learn, by ridge regression on the net's own random features, which shape a place belongs to. A scene has
discs, squares, triangles and stripes of random place, size and colour on smooth noise; what tells them apart is their
texture. The metric is the mean intersection over union of all classes, background included (PASCAL VOC, Everingham et al. 2015, doi
10.1007/s11263-014-0733-5), on other scenes. Training batches are drawn alike, so that recipes can train.
"""

import difflib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision_model import MEAN, STD, fit_batch_norm, normalise

import edgekit as ek

CLASSES = 5  # background, disc, square, triangle, stripe
SHAPES = 4  # in one scene
BATCH = 8
LEARNING = 64  # scenes
RIDGE = 1e-3
GAIN = 10.0  # the logit of the right class where the regression is sure


def scene(random: np.random.RandomState, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(pixels [3, size, size] in [0, 1], the class of each [size, size])"""
    coarse = torch.from_numpy(random.uniform(0.2, 0.8, (1, 3, 4, 4)))
    pixels = nn.functional.interpolate(coarse, (size, size), mode="bicubic")[0].numpy()
    labels = np.zeros((size, size), np.int64)
    rows, columns = np.mgrid[:size, :size]
    for _ in range(SHAPES):
        kind = random.randint(1, CLASSES)
        radius = random.uniform(0.1, 0.25) * size
        y, x = random.uniform(radius, size - radius, 2)
        inside = _inside(kind, np.abs(rows - y), rows - y, np.abs(columns - x), radius)
        texture = 0.5 + 0.5 * np.sign(np.sin((rows + kind * columns) * np.pi / (2 * kind)))
        colour = random.uniform(0, 1, (3, 1, 1))
        pixels = np.where(inside, 0.5 * colour + 0.5 * texture, pixels)
        labels[inside] = kind
    noisy = pixels + random.normal(0, 0.03, pixels.shape)
    return np.clip(noisy, 0, 1).astype(np.float32), labels


def _inside(kind: int, dy: np.ndarray, below: np.ndarray, dx: np.ndarray, radius: float) -> np.ndarray:
    if kind == 1:
        return dy**2 + dx**2 < radius**2
    if kind == 2:
        return np.maximum(dy, dx) < 0.8 * radius
    if kind == 3:
        return (dx < (below + radius) / 2) & (dy < radius)
    return (dy < radius) & (dx < radius / 3)


class Scenes:
    """Batches of (inputs [N, 3, size, size], classes [N, size, size]); the same each time where `again`, else others, by torch's seed."""

    def __init__(self, count: int, size: int, seed: int, again: bool = True) -> None:
        self.count, self.size, self.seed, self.again = count, size, seed, again

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        seed = self.seed if self.again else int(torch.randint(2**31, (1,)))
        random = np.random.RandomState(seed)
        for first in range(0, self.count, BATCH):
            drawn = [scene(random, self.size) for _ in range(min(BATCH, self.count - first))]
            pixels, labels = map(np.stack, zip(*drawn, strict=True))
            yield normalise(pixels), labels

    def __iter__(self) -> Iterator[np.ndarray]:
        return (inputs for inputs, _ in self.batches())


class Labelled:
    """Scenes with their classes as tensors, which a training reads."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return ((torch.from_numpy(x), torch.from_numpy(y)) for x, y in self.scenes.batches())


class MeanIoU:
    """Mean over classes of intersection over union, each summed over all scenes."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        counts = np.zeros((CLASSES, CLASSES), np.int64)  # [true, said]
        for inputs, labels in self.scenes.batches():
            said = np.asarray(predict(inputs)).argmax(1)
            counts += np.bincount((labels * CLASSES + said).ravel(), minlength=CLASSES**2).reshape(
                counts.shape
            )
        hit = counts.diagonal()
        return float((hit / np.maximum(counts.sum(0) + counts.sum(1) - hit, 1)).mean())


class Picked(nn.Module):
    """torchvision's answer is a dict; a file has tensors: [N, classes, H, W], the logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.net(x)["out"]
        return answer


def build_model(name: str, size: int, seed: int) -> nn.Module:
    """The seeded net, with batch-norm statistics and last layers that fit the learning scenes."""
    learning = Scenes(LEARNING, size, seed + 1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        net = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES)
        model = Picked(net.eval())
        fit_batch_norm(model, learning)
        _fit_heads(model, learning)
    return model


def _fit_heads(model: nn.Module, learning: Scenes) -> None:
    """Sets the 1x1 convolutions whose sum is the answer, all at once, by ridge regression on their inputs."""
    heads = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.out_channels == CLASSES]
    features, labels = _places(model, heads, learning)
    centre, spread = features.mean(0), features.std(0) + 1e-6
    features = (features - centre) / spread
    wanted = GAIN * (nn.functional.one_hot(labels, CLASSES).double() - 1 / CLASSES)
    square = features.T @ features
    square += torch.eye(len(square)) * square.trace() / len(square) * RIDGE
    learned = torch.linalg.solve(square, features.T @ wanted).T / spread
    bias = wanted.mean(0) - learned @ centre
    for head, weight in zip(heads, learned.split([h.in_channels for h in heads], 1), strict=True):
        head.weight.copy_(weight.view_as(head.weight))
        if head.bias is not None:
            head.bias.copy_(bias / len(heads))


def _places(model: nn.Module, heads: list[nn.Conv2d], learning: Scenes) -> tuple[torch.Tensor, torch.Tensor]:
    """What reaches the heads at every place [places, channels of all], and the class there [places]."""
    seen: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    hooks = [h.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for h in heads]
    features = []
    for inputs, classes in learning.batches():
        seen.clear()
        model(torch.from_numpy(inputs))
        joined = torch.cat(seen, 1)
        features.append(joined.permute(0, 2, 3, 1).flatten(0, 2))
        grid = torch.from_numpy(classes)[:, None].float()
        labels.append(nn.functional.interpolate(grid, joined.shape[-2:], mode="nearest-exact").flatten())
    for hook in hooks:
        hook.remove()
    return torch.cat(features).double(), torch.cat(labels).long()


def task(
    model: str = "lraspp_mobilenet_v3_large", size: int = 224, seed: int = 0, samples: int = 32
) -> ek.Task:
    """The task for one torchvision segmentation net; `samples` scenes in the metric."""
    names = torchvision.models.list_models(module=torchvision.models.segmentation)
    if model not in names:
        close = difflib.get_close_matches(model, names, n=5, cutoff=0.4) or names
        raise ek.TaskError(f"torchvision has no segmentation net {model!r}; close names: {', '.join(close)}")
    if samples < 1 or size < 64:
        raise ek.TaskError(f"samples={samples}, size={size}; at least one scene, of 64 pixels")
    return ek.Task(
        name=f"torchvision-{model}",
        model=partial(build_model, model, size, seed),
        example_inputs=(torch.zeros(1, 3, size, size),),
        calibration=Scenes(LEARNING, size, seed + 1),
        metric=MeanIoU(Scenes(samples, size, seed + 2)),
        preprocessing=ek.Preprocessing(mean=MEAN, std=STD, layout="NCHW"),
        training=ek.Training(
            batches=Labelled(Scenes(LEARNING, size, seed + 3, again=False)), loss=nn.functional.cross_entropy
        ),
    )
