"""Figures of merit for tasks beyond classes, by torchmetrics: boxes, masks, images, text. In all of them higher is better.

Those of torchmetrics need the extra `metrics`: `pip install "edgekit[metrics]"`. Each takes what the model answered beside what is true, as arrays, and
returns one number, so that a task's metric is a few lines:

    def metric(predict):
        found = [decoded(predict(image)) for image in images]
        return ek.metrics.mean_average_precision(found, truths)
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import MissingRuntime, UserError


def mean_average_precision(
    found: Sequence[Mapping[str, Any]], true: Sequence[Mapping[str, Any]], iou: float | None = None
) -> float:
    """The mean average precision of COCO (Lin et al. 2014, arXiv 1405.0312).

    Args:
        found: For each image `boxes` [K, 4] as two corners, `scores` [K] and `labels` [K].
        true: For each image `boxes` [L, 4] and `labels` [L].
        iou: The intersection over union from which two boxes are one; None for the mean over 0.5, 0.55, ... 0.95.
    """
    if len(found) != len(true):
        raise UserError(f"{len(found)} images were answered, {len(true)} are known; give as many of both")
    _needed("pycocotools")
    detection = _needed("torchmetrics").detection
    measure = detection.MeanAveragePrecision(iou_thresholds=None if iou is None else [iou])
    measure.update([_tensors(each) for each in found], [_tensors(each) for each in true])
    return float(measure.compute()["map"])


def mean_iou(said: Any, true: Any, classes: int) -> float:
    """The mean over classes of intersection over union, each summed over all images.

    Args:
        said: The class of every pixel, [N, H, W].
        true: The right one, [N, H, W].
        classes: How many there are.
    """
    functional = _needed("torchmetrics").functional.classification
    return float(functional.multiclass_jaccard_index(_tensor(said), _tensor(true), num_classes=classes))


def psnr(answers: Any, true: Any, span: float = 1.0) -> float:
    """The ratio of the span of values to the error, in dB: the mean over images [N, C, H, W]."""
    functional = _needed("torchmetrics").functional.image
    sides = _tensor(answers).float(), _tensor(true).float()
    return float(functional.peak_signal_noise_ratio(*sides, data_range=span, dim=(1, 2, 3)))


def words_right(said: Sequence[str], true: Sequence[str]) -> float:
    """One less the word error rate: of all words, those to be replaced, put in or left out."""
    return 1.0 - float(_needed("torchmetrics").functional.text.word_error_rate(list(said), list(true)))


def characters_right(said: Sequence[str], true: Sequence[str]) -> float:
    """One less the character error rate."""
    return 1.0 - float(_needed("torchmetrics").functional.text.char_error_rate(list(said), list(true)))


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """Counts the symbols to insert, delete or replace to make one line of the other (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != other))
    return row[-1]


def _needed(package: str) -> Any:
    try:
        found = importlib.import_module(package)
        for part in ("detection", "functional.image", "functional.text") if package == "torchmetrics" else ():
            importlib.import_module(f"{package}.{part}")
    except ImportError as error:
        raise MissingRuntime(
            f'{package} is not installed, but edgekit.metrics needs it: pip install "edgekit[metrics]"'
        ) from error
    return found


def _tensor(array: Any) -> Any:
    import numpy as np
    import torch

    return array if isinstance(array, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(array))


def _tensors(image: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: _tensor(values) for name, values in image.items()}
    return found | {"boxes": found["boxes"].float().reshape(-1, 4), "labels": found["labels"].long()}
