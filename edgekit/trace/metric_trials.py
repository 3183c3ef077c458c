"""The metric asked again with other answers than the model's: those that were recorded, shuffled or replaced.

No model runs, so that a call costs what the metric itself costs. An answer that the metric feeds back as an input cannot
be changed: nobody was ever asked what follows from it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgekit.arrays import as_arrays, digest
from edgekit.errors import TaskError

SAME_METRIC = 1e-6  # relative; sums in another order differ by less
NOISE = 10.0  # times the largest number of an output: what no metric that looks can miss

Score = Callable[[Callable[..., Any]], float]
Answers = dict[str, list[np.ndarray]]
Change = Callable[[str, list[np.ndarray]], list[np.ndarray]]


def same(a: float, b: float) -> bool:
    """Whether two values of the metric are equal up to the order of summing."""
    return abs(a - b) <= SAME_METRIC * max(abs(b), 1e-9)


class FedBack(Exception):
    """The metric asked for what follows from a changed answer."""


class Trials:
    """Computes the metric of changed answers."""

    def __init__(self, answers: Answers, score: Score, metric: float) -> None:
        self.answers, self._score, self.metric = answers, score, metric
        self._places = [(key, row) for key, arrays in answers.items() for row in range(len(arrays[0]))]
        self.rows = len(self._places)

    def number(self, place: tuple[str, int]) -> int:
        """Returns the number of a sample, in the order of asking, by its question and row."""
        return self._places.index(place)

    def of(self, change: Change) -> float | None:
        """Computes the metric of the answers that `change` makes.

        Returns:
            The metric; None where it cannot be computed of them.

        Raises:
            FedBack: The metric feeds an answer back.
        """
        predict = _Changed(self.answers, change)
        try:
            value = self._score(predict)
        except TaskError:
            value = None
        if predict.unknown:
            raise FedBack
        return value

    def changes(self, change: Change) -> bool:
        """Whether `change` changes the metric, or makes it impossible to compute."""
        value = self.of(change)
        return value is None or not same(value, self.metric)

    def shuffled(self, outputs: Sequence[int], seed: int) -> float | None:
        """Computes the metric with every row given the answer of another one, the same for all of `outputs`."""
        order = np.random.default_rng(seed).permutation(self.rows)
        sources = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
        given: dict[str, list[tuple[str, int]]] = {key: [] for key in self.answers}
        for index, (key, _) in enumerate(self._places):
            given[key].append(self._places[sources[index]])

        def change(key: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
            return [
                np.stack([self.answers[source][i][row] for source, row in given[key]]) if i in outputs else a
                for i, a in enumerate(arrays)
            ]

        return self.of(change)


class _Changed:
    """A predict function that answers what `change` makes of what was recorded."""

    def __init__(self, answers: Answers, change: Change) -> None:
        self._answers, self._change = answers, change
        self.unknown = False

    def __call__(self, *inputs: Any) -> Any:
        key = digest(as_arrays(inputs))
        if key not in self._answers:
            self.unknown = True
            raise FedBack
        outputs = [
            a.copy() for a in self._change(key, list(self._answers[key]))
        ]  # the metric may write there
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


def best(output: int, axis: int, turn: int) -> Change:
    """Returns a change of one output: along an axis, 1 at `turn` places beyond its largest number, and 0 elsewhere."""

    def change(array: np.ndarray) -> np.ndarray:
        count = array.shape[axis]
        made = np.zeros_like(array)
        np.put_along_axis(made, (array.argmax(axis, keepdims=True) + turn) % count, 1, axis)
        return made

    return _of_output(output, change)


def thresholded(output: int, turn: int) -> Change:
    """Returns a change of one output: only on which side of the middle each number lies is left, or turned round."""

    def change(array: np.ndarray) -> np.ndarray:
        unit = array.min() >= 0 and array.max() <= 1
        above = (array > (0.5 if unit else 0.0)) != bool(turn)
        return np.where(above, 1.0, 0.0 if unit else -1.0).astype(array.dtype)

    return _of_output(output, change)


def lengthened(output: int, sign: int) -> Change:
    """Returns a change of one output: each row multiplied by a number of its own, or the opposite of it."""

    def change(array: np.ndarray) -> np.ndarray:
        by = np.linspace(0.5, 2.0, len(array)).reshape(-1, *[1] * (array.ndim - 1))
        return np.asarray(array * by * sign, array.dtype)

    return _of_output(output, change)


def _of_output(output: int, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda _key, arrays: [*arrays[:output], change(arrays[output]), *arrays[output + 1 :]]


def noise(output: int, axis: int = 0, part: slice = slice(None)) -> Change:
    """Returns a change of some channels of an output, or all of it, into noise far beyond its numbers.

    Integers are put in another order instead.

    Args:
        output: The position of the output.
        axis: The axis of its channels.
        part: The channels to change.
    """

    def change(key: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
        changed, generator = arrays[output].copy(), np.random.default_rng(int(key, 16))
        where = (slice(None),) * axis + (part,)
        old = changed[where]
        if changed.dtype.kind == "f":
            scale = NOISE * max(float(np.abs(arrays[output]).max(initial=0.0)), 1.0)
            changed[where] = generator.standard_normal(old.shape) * scale
        else:
            changed[where] = generator.permuted(old.ravel()).reshape(old.shape)
        return [*arrays[:output], changed, *arrays[output + 1 :]]

    return change
