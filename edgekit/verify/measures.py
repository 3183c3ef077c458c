"""How far an output is the float model's answer, by what it is: classes, masks, boxes, images, directions, text.

Each measure takes the answers of both to the same samples, [N, ...], and gives one figure from 0 to 1 a sample. None of them
knows the truth: they tell how often an app would see something else than with the float model.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from edgekit.metrics import edit_distance
from edgekit.records import Measure

MOST_BOXES = 300  # of an image, the best ones
FLAT = 1e-12
CEILING_DB = 120.0  # of a sample without an error

Answers = Sequence[np.ndarray]
PerSample = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Measured(NamedTuple):
    """Sums over all samples of one output."""

    kind: str
    total: float = 0.0
    samples: int = 0
    psnr_db: float = 0.0

    def agreement(self) -> float | None:
        """Returns the mean, None where nothing was measured."""
        return self.total / self.samples if self.samples else None


def add(
    so_far: Measured, measure: Measure, names: Sequence[str], index: int, right: Answers, got: Answers
) -> Measured:
    """Adds one batch of answers.

    Args:
        so_far: The sums before it.
        measure: How output `index` is measured.
        names: The names of the outputs.
        index: Its position.
        right: The float model's answers, one [N, ...] array an output.
        got: The artifact's.
    """
    a, b = right[index], got[index]
    if measure.kind == "boxes":
        scores = list(names).index(measure.scores)
        found = np.array(
            [_boxes(measure, *four) for four in zip(a, right[scores], b, got[scores], strict=True)]
        )
    elif measure.kind == "ctc":
        found = _edits(a, b, lambda line: _collapsed(line, measure.blank))
    else:
        found = KINDS[measure.kind](a, b)
    psnr = float(_psnr_db(a, b).sum()) if measure.kind == "psnr" else 0.0
    return Measured(
        measure.kind, so_far.total + float(found.sum()), so_far.samples + len(found), so_far.psnr_db + psnr
    )


# ------------------------------------------------------------------------------------------------ classes, numbers


def _top1(right: np.ndarray, got: np.ndarray) -> np.ndarray:
    return np.asarray(right.argmax(1) == got.argmax(1), np.float64)


def _equal(right: np.ndarray, got: np.ndarray) -> np.ndarray:
    return np.asarray((right == got).reshape(len(right), -1).mean(1), np.float64)


def _cosine(right: np.ndarray, got: np.ndarray) -> np.ndarray:
    a, b = (side.reshape(len(side), -1).astype(np.float64) for side in (right, got))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.clip(np.where(norms > FLAT, (a * b).sum(1) / np.maximum(norms, FLAT), 0.0), 0.0, 1.0)


# ------------------------------------------------------------------------------------------------ images


def labels_of(scores: np.ndarray) -> np.ndarray:
    """Returns the class of each position: of scores [N, C, ...] the best, of one map what is above the middle."""
    if scores.dtype.kind in "iub":
        return scores
    if scores.ndim > 3 and scores.shape[1] > 1:
        return np.asarray(scores.argmax(1))
    middle = 0.5 if scores.min() >= 0 and scores.max() <= 1 else 0.0
    return scores > middle


def _mask(right: np.ndarray, got: np.ndarray) -> np.ndarray:
    return np.array([_iou(a, b) for a, b in zip(labels_of(right), labels_of(got), strict=True)])


def _iou(right: np.ndarray, got: np.ndarray) -> float:
    """The mean over the classes that either has."""
    found = []
    for label in np.union1d(right, got):
        a, b = right == label, got == label
        found.append((a & b).sum() / (a | b).sum())
    return float(np.mean(found)) if found else 1.0


def _relative_error(right: np.ndarray, got: np.ndarray) -> np.ndarray:
    """The root mean square of the error of each sample, as a share of the range of values."""
    unit = right.min() >= -0.1 and right.max() <= 1.1
    span = 1.0 if unit else max(float(right.max() - right.min()), FLAT)
    error = (got.astype(np.float64) - right).reshape(len(right), -1)
    return np.asarray(np.sqrt(np.square(error).mean(1)) / span)


def _psnr(right: np.ndarray, got: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(1.0 - _relative_error(right, got), 0.0, 1.0))


def _psnr_db(right: np.ndarray, got: np.ndarray) -> np.ndarray:
    error = np.maximum(_relative_error(right, got), 10 ** (-CEILING_DB / 20))
    return np.asarray(-20 * np.log10(error))


# ------------------------------------------------------------------------------------------------ text


def _edits(right: np.ndarray, got: np.ndarray, read: Callable[[np.ndarray], list[int]]) -> np.ndarray:
    """One less the edit distance as a share of the longer line, of the best symbol at each place of [N, T, V]."""
    lines = [side if side.dtype.kind in "iu" else side.argmax(-1) for side in (right, got)]
    found = []
    for a, b in zip(*lines, strict=True):
        one, two = read(a.ravel()), read(b.ravel())
        found.append(1.0 - edit_distance(one, two) / max(len(one), len(two), 1))
    return np.array(found)


def _collapsed(line: np.ndarray, blank: int) -> list[int]:
    kept = line[np.concatenate([[True], line[1:] != line[:-1]])]
    return [int(symbol) for symbol in kept if symbol != blank]


# ------------------------------------------------------------------------------------------------ boxes


def _boxes(
    measure: Measure, right: np.ndarray, right_scores: np.ndarray, got: np.ndarray, got_scores: np.ndarray
) -> float:
    """Twice the boxes that both find with one class, over all that either finds."""
    ours, theirs = _best(measure, right, right_scores), _best(measure, got, got_scores)
    total = len(ours[0]) + len(theirs[0])
    if not total:
        return 1.0
    overlaps = _overlaps(ours[0], theirs[0]) * (ours[1][:, None] == theirs[1][None])
    taken, matched = set[int](), 0
    for row in overlaps:
        left = [int(j) for j in np.argsort(-row) if row[j] >= measure.iou_at and int(j) not in taken]
        if left:
            taken.add(left[0])
            matched += 1
    return 2 * matched / total


def _best(measure: Measure, boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns corners [K, 4] and classes [K] of the boxes above the score, best first."""
    table = scores.reshape(len(boxes), -1)
    best = table.max(1)
    order = [i for i in np.argsort(-best, kind="stable")[:MOST_BOXES] if best[i] >= measure.score_at]
    chosen, kinds = boxes[order].astype(np.float64).reshape(-1, 4), table[order].argmax(1)
    if measure.form == "cxcywh":
        centre, half = chosen[:, :2], chosen[:, 2:] / 2
        chosen = np.concatenate([centre - half, centre + half], 1)
    return chosen, kinds


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of corners [K, 4] and [L, 4]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(side[:, 2:] - side[:, :2], 0, None).prod(-1) for side in (a, b)]
    return np.asarray(common / np.maximum(areas[0][:, None] + areas[1][None] - common, FLAT))


KINDS: dict[str, PerSample] = {
    "top1": _top1,
    "equal": _equal,
    "cosine": _cosine,
    "mask": _mask,
    "psnr": _psnr,
    "sequence": lambda right, got: _edits(right, got, lambda line: line.tolist()),
}
