"""By which measure each output is compared with the float model's: what the task says, else what the output is.

What an output is, the metric tells: where it reads nothing but the best class of each row, pixel or step, the answers are classes, a
mask, a sequence; where the length of a row does not matter, directions. That is asked by changing the recorded answers
(`edgekit.trace.metric_trials`), so that no model runs. Anything else of floats is compared by correlation, images by their PSNR.
"""

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from edgekit.errors import TaskError
from edgekit.records import Measure, MeasureKind, TensorSpec
from edgekit.trace.metric_trials import Change, FedBack, Trials, best, lengthened, thresholded

MAX_KINDS = 2  # tried of one output
MAX_OUTPUTS = 4  # asked one by one; others are compared by correlation


def said(measures: Mapping[str, str | Measure], names: Sequence[str]) -> dict[str, Measure]:
    """Returns the task's own measures by the name of the output.

    Raises:
        TaskError: There is no such output.
    """
    found = {}
    for name, given in measures.items():
        measure = given if isinstance(given, Measure) else _of_kind(given)
        unknown = [n for n in (name, *([measure.scores] if measure.scores else [])) if n not in names]
        if unknown:
            raise TaskError(f"measures names {unknown[0]!r}; the model has the outputs {', '.join(names)}")
        found[name] = measure
    return found


def _of_kind(kind: str) -> Measure:
    if kind not in get_args(MeasureKind):
        raise TaskError(f"measures gives {kind!r}; allowed are {', '.join(get_args(MeasureKind))}")
    return Measure(kind=kind)  # type: ignore[arg-type]


def pick(
    outputs: Sequence[TensorSpec],
    inputs: Sequence[TensorSpec],
    told: Mapping[str, Measure],
    trials: Trials,
    labels: int,
    repeatable: bool,
    quick: bool,
) -> tuple[Measure, ...]:
    """Returns the measure of each output.

    Args:
        outputs: The outputs of the model.
        inputs: Its inputs: an output of the form of an image that goes in is an image.
        told: What the task says.
        trials: Asks the metric about changed answers.
        labels: How many class names the task gives.
        repeatable: Whether the metric gives one figure for the same answers.
        quick: Whether it may be asked often.
    """
    answers = next(iter(trials.answers.values()), [])
    found = []
    for i, (spec, array) in enumerate(zip(outputs, answers, strict=True)):
        if spec.name in told:
            found.append(told[spec.name])
            continue
        most = (MAX_KINDS if quick else int(i == 0)) if repeatable and i < MAX_OUTPUTS else 0
        kind = _kind(i, array, (trials, most), labels if i == 0 else -1, inputs)
        found.append(Measure(kind=kind))
    return tuple(found)


def _kind(
    i: int, array: np.ndarray, asking: tuple[Trials, int], labels: int, inputs: Sequence[TensorSpec]
) -> MeasureKind:
    if array.dtype.kind != "f":
        return "equal"
    if array.ndim == 2 and array.shape[1] == labels > 1:
        return "top1"
    asked = _asked(i, array, *asking)
    if asked:
        return asked
    images = [spec.shape for spec in inputs if len(spec.shape) == 4 and spec.dtype in ("float32", "uint8")]
    if array.ndim == 4 and array.shape[1] in (1, 3) and any(_is_like(array.shape, shape) for shape in images):
        return "psnr"
    return "correlation"


def _asked(i: int, array: np.ndarray, trials: Trials, most: int) -> MeasureKind | None:
    """Returns which of the `most` likeliest kinds an output is of, None where the metric looks at its values."""
    tried: list[tuple[MeasureKind, Change, Change]] = []
    if array.ndim == 2 and array.shape[1] > 1:
        tried = [("top1", best(i, 1, 0), best(i, 1, 1)), ("cosine", lengthened(i, 1), lengthened(i, -1))]
    elif array.ndim == 3 and array.shape[2] > 1:
        tried = [("sequence", best(i, 2, 0), best(i, 2, 1))]
    if array.ndim >= 3:
        few = array.ndim == 3 or array.shape[1] == 1
        kept, other = (thresholded(i, turn) if few else best(i, 1, turn) for turn in (0, 1))
        tried.append(("mask", kept, other))
    try:
        return next(
            (
                kind
                for kind, kept, other in tried[:most]
                if not trials.changes(kept) and trials.changes(other)
            ),
            None,
        )
    except FedBack:
        return None


def _is_like(shape: tuple[int, ...], image: tuple[int, ...]) -> bool:
    """Whether [N, C, H, W] is the image again, or enlarged by a whole number."""
    sides = list(zip(shape[2:], image[2:], strict=True))
    return shape[1] in (1, image[1]) and all(out % side == 0 for out, side in sides if side > 0)
