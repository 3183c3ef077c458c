"""The embedded default of `edgekit demo`: handwritten digits and a small convolutional net.

Data: scikit-learn's bundled digits, 1797 grey images of 8 x 8, enlarged to 32 x 32 (bilinear) so that a
convolutional net has something to do. A fixed shuffle gives 1197 images for training, of which the first 100
calibrate, and 600 for the metric, which no training step sees.

The net has 75 thousand parameters: a stem, a strided convolution, a depthwise-separable block with a residual
add, another strided convolution, pooling, a linear layer. It is trained on first use, in seconds, with fixed
seeds. The weights are kept in the user's cache folder, under the hash of this file, so that every process
loads the very same ones. Without a writable cache each process trains again, and gets the same weights on the
same machine.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import edgekit as ek

SIZE = 32
TRAINING_IMAGES = 1197
CALIBRATION_IMAGES = 100
EPOCHS = 8
BATCH = 32
MEAN, STD = 0.5, 0.5


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class DigitNet(nn.Module):
    """[N, 1, 32, 32] -> ten logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_bn_relu(1, 32, 3)
        self.down1 = _conv_bn_relu(32, 64, 3, stride=2)
        self.separable = nn.Sequential(_conv_bn_relu(64, 64, 3, groups=64), _conv_bn_relu(64, 64, 1))
        self.down2 = _conv_bn_relu(64, 88, 3, stride=2)
        self.head = nn.Linear(88, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down1(self.stem(x))
        x = x + self.separable(x)
        x = F.adaptive_avg_pool2d(self.down2(x), 1)
        return self.head(torch.flatten(x, 1))


@cache
def _data() -> tuple[torch.Tensor, torch.Tensor]:
    """All images as [N, 1, 32, 32], normalised, and their labels, in the fixed shuffled order."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))
    images = torch.tensor(pixels[order], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    images = F.interpolate(images, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return (images - MEAN) / STD, torch.tensor(labels[order], dtype=torch.int64)


class Batches:
    """Re-iterable batches of the images `start:stop`; with labels in a shuffled order that never changes."""

    def __init__(self, start: int, stop: int, size: int, *, labelled: bool) -> None:
        self.start, self.stop, self.size, self.labelled = start, stop, size, labelled

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // self.size)

    def __iter__(self) -> Iterator[torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        images, labels = (part[self.start : self.stop] for part in _data())
        if not self.labelled:
            yield from images.split(self.size)
            return
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        for chosen in order.split(self.size):
            yield images[chosen], labels[chosen]


def top1(predict: Callable[[np.ndarray], np.ndarray]) -> float:
    """Share of the 600 held-out images that are named right."""
    images, labels = (part[TRAINING_IMAGES:].numpy() for part in _data())
    right = 0
    for first in range(0, len(labels), 50):
        answers = predict(images[first : first + 50])
        right += int((np.asarray(answers).argmax(1) == labels[first : first + 50]).sum())
    return right / len(labels)


@contextlib.contextmanager
def _reproducible() -> Iterator[None]:
    """Fixed seed and thread count: the order of float sums, and so the weights, depend on both."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.set_num_threads(2)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _train() -> nn.Module:
    images, labels = (part[:TRAINING_IMAGES] for part in _data())
    with _reproducible(), torch.enable_grad():
        model = DigitNet()
        steps = EPOCHS * (TRAINING_IMAGES // BATCH)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
        for _ in range(EPOCHS):
            for chosen in torch.randperm(TRAINING_IMAGES).split(BATCH)[: TRAINING_IMAGES // BATCH]:
                optimizer.zero_grad()
                F.cross_entropy(model(images[chosen]), labels[chosen], label_smoothing=0.05).backward()
                optimizer.step()
                schedule.step()
    return model


def cache_file() -> Path:
    """Where the trained weights are kept: one file for each version of this source."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    return root / "edgekit" / f"digits-{digest}.pt"


def _save(weights: dict[str, torch.Tensor], file: Path) -> None:
    """Writes beside the place and renames into it; a folder that cannot be written is no error."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=file.parent, prefix=file.stem, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                torch.save(weights, stream)
            Path(beside).replace(file)
        finally:
            Path(beside).unlink(missing_ok=True)


def build_model() -> nn.Module:
    """The trained net, in eval mode: from the cache, or trained now. A damaged cache file is trained over."""
    model, file = DigitNet(), cache_file()
    try:
        model.load_state_dict(torch.load(file, weights_only=True))
    except Exception:  # missing, unreadable, truncated, foreign: each has its own exception type
        weights = _train().state_dict()
        model.load_state_dict(weights)
        _save(weights, file)
    return model.eval()


task = ek.Task(
    name="digits",
    model=build_model,
    example_inputs=(torch.zeros(1, 1, SIZE, SIZE),),
    calibration=Batches(0, CALIBRATION_IMAGES, 10, labelled=False),
    metric=top1,
    training=ek.Training(batches=Batches(0, TRAINING_IMAGES, BATCH, labelled=True), loss=F.cross_entropy),
    preprocessing=ek.Preprocessing(
        mean=(MEAN,), std=(STD,), layout="NCHW", labels=tuple(str(digit) for digit in range(10))
    ),
)
