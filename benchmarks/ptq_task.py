"""The task that every peer quantizes: a model of `examples/`, with as many samples as the benchmark was told.

    lite0              EfficientNet-Lite0 with its ImageNet weights, top-1 on your photos (examples/imagenet.py)
    digits             the embedded default: 600 digits score, whatever `score` says (examples/digits.py)
    torchvision:NAME   any torchvision classifier with random weights and a fitted head: it is scored on distorted
                       copies of its own source images, which says nothing about ImageNet
                       (examples/torchvision_model.py)

Photos that calibrate and photos that score are evenly spread over their half and never the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import edgekit as ek
from edgekit.arrays import as_arrays
from edgekit.engine.task_reference import load_task

EXAMPLES = Path(__file__).parents[1] / "examples"
TORCHVISION = "torchvision:"
MODELS = f"lite0, digits, {TORCHVISION}NAME"
COPIES = 3  # that torchvision_model.py makes of each source image to calibrate


def task(model: str = "lite0", photos: str = "", calibrate: int = 100, score: int = 400) -> ek.Task:
    """The task of one model. Raises ek.TaskError for an unknown model and for more samples than there are."""
    if calibrate < 1 or score < 1:
        raise ek.TaskError(f"calibrate={calibrate}, score={score}; each must be at least 1")
    if model == "lite0":
        return _spread(load_task(f"{EXAMPLES / 'imagenet.py'}:task", {"photos": photos}), calibrate, score)
    if model == "digits":
        base = load_task(f"{EXAMPLES / 'digits.py'}:task")
    elif model.startswith(TORCHVISION):
        base = _torchvision(model.removeprefix(TORCHVISION), photos, calibrate, score)
    else:
        raise ek.TaskError(f"unknown model {model!r}; allowed: {MODELS}")
    return replace(base, calibration=FirstSamples(base.calibration or (), calibrate))


def is_random(model: str) -> bool:
    """Whether the weights of this model are random, so that its top-1 is no accuracy."""
    return model.startswith(TORCHVISION)


def _torchvision(name: str, photos: str, calibrate: int, score: int) -> ek.Task:
    classes = max(2, -(-calibrate // COPIES))
    settings = {"model": name, "photos": photos, "classes": str(classes), "samples": str(max(score, classes))}
    return load_task(f"{EXAMPLES / 'torchvision_model.py'}:task", settings)


def _spread(base: ek.Task, calibrate: int, score: int) -> ek.Task:
    """The task with evenly spread parts of the photos that calibrate and of those that score."""
    calibration: Any = base.calibration
    metric: Any = base.metric
    return replace(
        base,
        calibration=type(calibration)(
            _part(calibration.photos, calibrate, "calibrate"), calibration.normalise
        ),
        metric=type(metric)(_part(metric.photos, score, "score"), metric.normalise),
    )


def _part(photos: Any, count: int, what: str) -> Any:
    if count > len(photos):
        raise ek.TaskError(
            f"{what}={count}, but the photos at {photos.place} leave {len(photos)} to {what}; give more photos or fewer"
        )
    chosen: Sequence[int] = [index * len(photos) // count for index in range(count)]
    return photos.subset(chosen)


class FirstSamples:
    """The first `count` samples of re-iterable calibration batches."""

    def __init__(self, batches: Iterable[Any], count: int) -> None:
        self.batches, self.count = batches, count

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        left = self.count
        for batch in self.batches:
            arrays = as_arrays(batch if isinstance(batch, tuple | list) else (batch,))
            yield tuple(array[:left] for array in arrays)
            left -= len(arrays[0])
            if left <= 0:
                return
