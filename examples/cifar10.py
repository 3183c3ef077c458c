"""ResNet-20 and ResNet-56 on CIFAR-10, with training data: what quantization-aware training, pruning and distillation need.

    edgekit export examples/cifar10.py:task --set weights=resnet20.safetensors --set train=train.npz --set test=test.npz -t x86-server -o out/

He et al. 2015 (arXiv:1512.03385), section 4.2, with option-A shortcuts: every second pixel, new channels zero, no weights. The
depth is read from the weights. A data file is an .npz with `jpeg`, the bytes of all images end to end, `offset` [N + 1] and
`label` [N]. The first images of the training file calibrate; all images of the test file score. Training batches are
shuffled, shifted by up to four pixels and mirrored, other ones each epoch, by the generators that the training seeds.
"""

import io
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import edgekit as ek

CLASSES = 10
CALIBRATION_IMAGES = 200
BATCH = 50
SHIFT = 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
EXPECTED = "an .npz with jpeg (uint8, all files end to end), offset (int64, N + 1) and label (int64, N)"


class Block(nn.Module):
    """Two convolutions and the input added: [N, C, H, W] -> [N, D, H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], [0, 0, 0, 0, self.more // 2, self.more // 2])
        return F.relu(y + x)


class ResNet(nn.Module):
    """[N, 3, 32, 32] -> [N, 10]; 6 n + 2 layers for n `blocks` in each of three stages."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, blocks)
        self.layer2 = self._stage(16, 32, 2, blocks)
        self.layer3 = self._stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, CLASSES)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
        later = [Block(outputs, outputs, 1) for _ in range(blocks - 1)]
        return nn.Sequential(Block(inputs, outputs, stride), *later)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def build_model(weights: str) -> nn.Module:
    """Raises ek.TaskError for a file that holds no such net."""
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise ek.TaskError(
            f"weights {weights!r} cannot be read: {error}; give a .safetensors file"
        ) from error
    blocks = len({name.split(".")[1] for name in state if name.startswith("layer1.")})
    model = ResNet(blocks)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ek.TaskError(
            f"weights {weights!r} are not of a ResNet of CIFAR with option-A shortcuts: {first}"
        ) from error
    return model.eval()


@cache
def images(place: str) -> tuple[np.ndarray, np.ndarray]:
    """(pixels [N, 3, 32, 32] uint8, labels [N]). Raises ek.TaskError for a file that is something else."""
    try:
        with np.load(Path(place)) as found:
            jpeg, offset, labels = found["jpeg"].tobytes(), found["offset"], found["label"]
        pixels = [np.asarray(Image.open(io.BytesIO(jpeg[a:b])).convert("RGB")) for a, b in pairwise(offset)]
        return np.stack(pixels).transpose(0, 3, 1, 2), labels.astype(np.int64)
    except (OSError, KeyError, ValueError, UnidentifiedImageError) as error:
        raise ek.TaskError(f"{place!r} is no data file ({error}); expected is {EXPECTED}") from error


def normalise(pixels: np.ndarray) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255 - mean) / std


class Calibration:
    """The first images of the training file, as they are."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __iter__(self) -> Iterator[torch.Tensor]:
        pixels = images(self.place)[0][:CALIBRATION_IMAGES]
        for first in range(0, len(pixels), BATCH):
            yield normalise(pixels[first : first + BATCH])


class Augmented:
    """Batches (images, labels), in an order and with shifts and mirrors that torch's generator draws."""

    def __init__(self, place: str, size: int) -> None:
        self.place, self.size = place, size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        pixels, labels = images(self.place)
        for chosen in torch.randperm(len(labels)).split(self.size):
            yield augment(normalise(pixels[chosen.numpy()])), torch.from_numpy(labels[chosen.numpy()])


def augment(x: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to SHIFT pixels, zeros in from the border, and mirrored half the time."""
    count, size = len(x), x.shape[-1]
    padded = F.pad(x, [SHIFT] * 4)
    rows, columns = torch.randint(0, 2 * SHIFT + 1, (2, count)).tolist()
    mirrored = torch.rand(count) < 0.5
    cut = [
        padded[i, :, r : r + size, c : c + size] for i, (r, c) in enumerate(zip(rows, columns, strict=True))
    ]
    return torch.stack([image.flip(-1) if flip else image for image, flip in zip(cut, mirrored, strict=True)])


class Top1:
    """Share of the test images that are named right."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        pixels, labels = images(self.place)
        right = 0
        for first in range(0, len(labels), BATCH):
            answers = np.asarray(predict(normalise(pixels[first : first + BATCH]).numpy()))
            right += int((answers.argmax(1) == labels[first : first + BATCH]).sum())
        return right / len(labels)


def task(weights: str = "", train: str = "", test: str = "", batch: int = 32) -> ek.Task:
    """The task for weights and data files."""
    for name, given in (("weights", weights), ("train", train), ("test", test)):
        if not Path(given).is_file():
            raise ek.TaskError(f"{name}={given!r} is no file; give --set {name}=FILE")
    return ek.Task(
        name="cifar10",
        model=lambda: build_model(weights),
        example_inputs=(torch.zeros(1, 3, 32, 32),),
        calibration=Calibration(train),
        metric=Top1(test),
        training=ek.Training(batches=Augmented(train, batch), loss=F.cross_entropy),
        preprocessing=ek.Preprocessing(mean=MEAN, std=STD, layout="NCHW", labels=LABELS),
    )
