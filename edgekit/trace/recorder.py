"""What the float model answered to the metric, kept by the hash of the question: the reference for every artifact.

`Replay` asks the metric a second time and answers from what is kept: a metric that then asks for other inputs, or
finds another figure, is not deterministic, and no artifact could be judged by it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgekit.arrays import as_arrays, digest
from edgekit.errors import TaskError
from edgekit.trace.calibration_check import Statistics

KEEP_BYTES = 1 << 30  # predictions kept for parity
KEEP_QUESTION_BYTES = 1 << 26  # questions kept whole: see `Questions`
KEEP_SAMPLES = 32  # kept for golden pairs and the saturation check


class Questions:
    """Keeps some of what the metric asked: evenly spread over its questions, at most KEEP_QUESTION_BYTES.

    A metric that feeds answers back asks an artifact other questions from the second step on; these are what the
    artifact is then compared on.
    """

    def __init__(self) -> None:
        self._stride, self._seen, self._bytes = 1, 0, 0
        self.inputs: dict[str, list[np.ndarray]] = {}

    def add(self, key: str, arrays: list[np.ndarray]) -> None:
        """Adds the inputs of one question, by its hash."""
        fits = _size(arrays) <= KEEP_QUESTION_BYTES
        if self._seen % self._stride == 0 and fits and key not in self.inputs:
            self.inputs[key] = [a.copy() for a in arrays]
            self._bytes += _size(arrays)
        self._seen += 1
        while self._bytes > KEEP_QUESTION_BYTES:
            self._drop(list(self.inputs)[1::2])
            self._stride *= 2

    def _drop(self, keys: list[str]) -> None:
        for key in keys:
            self._bytes -= _size(self.inputs.pop(key))


class Recorder:
    """A predict function that remembers what it answered, by the hash of what it was asked.

    Args:
        call: The model, on a whole batch of arrays.
        shapes: The shapes of one sample, [1, ...], of those that are kept; None for any.
    """

    def __init__(
        self, call: Callable[..., list[np.ndarray]], shapes: Sequence[tuple[int, ...]] | None = None
    ) -> None:
        self._call, self._shapes = call, shapes
        self._kept_bytes = 0
        self._skipped = 0
        self._asked: dict[str, int] = {}  # hash of the inputs -> how many outputs are kept
        self._samples: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
        self.samples = 0
        self.predictions: dict[str, np.ndarray] = {}
        self.statistics = Statistics()
        self._questions = Questions()

    def __call__(self, *inputs: Any) -> Any:
        """Answers the metric's question and remembers the answer."""
        arrays = as_arrays(inputs)
        key = digest(arrays)  # before the call: a model may write into what it is given
        outputs = self._call(*arrays)
        self.samples += len(arrays[0])
        self.statistics.add(arrays)
        self._keep_samples(arrays, outputs)
        self._questions.add(key, arrays)
        self._keep(key, outputs, len(arrays[0]))
        return _single(outputs)

    def _keep(self, key: str, outputs: list[np.ndarray], samples: int) -> None:
        size = _size(outputs)
        fits = self._kept_bytes + size <= KEEP_BYTES
        self._asked[key] = len(outputs) if fits else 0
        if fits:
            self._kept_bytes += size
            self.predictions.update({f"{key}_{i}": o for i, o in enumerate(outputs)})
        else:
            self._skipped += samples

    def asked(self, arrays: list[np.ndarray]) -> bool:
        """Whether the metric asked for these inputs."""
        return digest(arrays) in self._asked

    def questions(self) -> list[str]:
        """Returns the hashes of what the metric asked for, in order."""
        return list(self._asked)

    def answers(self) -> dict[str, list[np.ndarray]]:
        """Returns what was answered to each question, in order; nothing where some answers were too large to keep."""
        if self._skipped:
            return {}
        return {key: [self.predictions[f"{key}_{i}"] for i in range(n)] for key, n in self._asked.items()}

    def kept_questions(self) -> dict[str, np.ndarray]:
        """Returns inputs by the hash of their question, `<hash>_<input>`, evenly spread over all questions."""
        return {
            f"{key}_{i}": a for key, arrays in self._questions.inputs.items() for i, a in enumerate(arrays)
        }

    def answer(self, arrays: list[np.ndarray]) -> Any:
        """Returns what was answered to these inputs; the model is asked where that was not kept."""
        key = digest(arrays)
        kept = [self.predictions[f"{key}_{i}"] for i in range(self._asked.get(key, 0))]
        return _single(kept or self._call(*arrays))

    def _keep_samples(self, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        if self._shapes is not None and any(
            a.shape[1:] != shape[1:] for a, shape in zip(inputs, self._shapes, strict=True)
        ):
            return
        for row in range(min(len(inputs[0]), KEEP_SAMPLES - len(self._samples))):
            self._samples.append(
                ([a[row : row + 1].copy() for a in inputs], [o[row : row + 1].copy() for o in outputs])
            )

    def kept(self) -> dict[str, np.ndarray]:
        """Returns the first samples, [N, ...] each, as input_i and output_i.

        Raises:
            TaskError: The metric never called predict, or an output has another shape for each sample.
        """
        if not self._samples and self._asked:
            raise TaskError(
                "the metric asked for no sample in the shape of example_inputs; give an example of a length that it asks for"
            )
        if not self._samples:
            raise TaskError("the metric never called predict; it must score the function it is given")
        inputs, outputs = zip(*self._samples, strict=True)
        named = {"input": zip(*inputs, strict=True), "output": zip(*outputs, strict=True)}
        return {
            f"{side}_{i}": _joined(side, i, column)
            for side, columns in named.items()
            for i, column in enumerate(columns)
        }

    def doubts(self) -> tuple[str, ...]:
        """Returns a sentence where some answers were too large to keep."""
        if not self._skipped:
            return ()
        return (
            f"parity leaves out {self._skipped} of {self.samples} samples: outputs above {KEEP_BYTES >> 20} MiB",
        )


def _joined(side: str, number: int, column: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the samples of one input or output as one array."""
    shapes = list(dict.fromkeys(array.shape[1:] for array in column))
    if len(shapes) > 1:
        raise TaskError(
            f"{side} {number} of the model is as long as the values in its inputs make it, {list(shapes[0])} and {list(shapes[1])} for one "
            "sample each: a file for a device has outputs of one shape. Leave what picks out of the model (nms, nonzero, masked_select, "
            "unique) and do it behind predict, or keep a fixed number with topk"
        )
    return np.concatenate(column)


def _size(arrays: list[np.ndarray]) -> int:
    return sum(a.nbytes for a in arrays)


def _single(outputs: list[np.ndarray]) -> Any:
    """Copies: a metric may work in place on what it is given (a stable softmax does), and what is kept stays as it was."""
    given = [output.copy() for output in outputs]
    return given[0] if len(given) == 1 else tuple(given)


class Replay:
    """A predict function that answers as the recorder did.

    Attributes:
        unknown: How many samples the recorder was never asked for.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.samples = self.unknown = 0

    def __call__(self, *inputs: Any) -> Any:
        """Answers as the recorder did, and counts the samples that it was never asked for."""
        arrays = as_arrays(inputs)
        self.samples += len(arrays[0])
        if not self._recorder.asked(arrays):
            self.unknown += len(arrays[0])
        return self._recorder.answer(arrays)
