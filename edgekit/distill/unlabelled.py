"""Batches without labels, (inputs, None), among labelled ones: they teach a student the teacher's answers."""

from collections.abc import Iterable, Iterator
from typing import Any

from edgekit.errors import TaskError
from edgekit.train.data import check_again


class Interleaved:
    """Yields `count` unlabelled batches after each labelled one.

    An epoch ends once both were read to their ends; meanwhile the shorter one starts again.

    Args:
        labelled: Batches (inputs, labels).
        unlabelled: Batches of inputs.
        count: Unlabelled batches for each labelled one.

    Raises:
        TaskError: One of them is an iterator, which can be read only once.
    """

    def __init__(self, labelled: Iterable[Any], unlabelled: Iterable[Any], count: int) -> None:
        check_again(labelled, "batches")
        check_again(unlabelled, "unlabelled")
        self.labelled, self.unlabelled, self.count = labelled, unlabelled, count

    def __iter__(self) -> Iterator[Any]:
        known, others = _Again(self.labelled, "batches"), _Again(self.unlabelled, "unlabelled")
        while not (known.ended and others.ended):
            yield next(known)
            for _ in range(self.count):
                yield next(others), None


class _Again:
    """Batches without end; `ended` tells whether they were read to their end at least once."""

    def __init__(self, batches: Iterable[Any], name: str) -> None:
        self._batches, self._name = batches, name
        self._source = iter(batches)
        self.ended = False

    def __next__(self) -> Any:
        done = object()
        found = next(self._source, done)
        if found is done:
            self.ended, self._source = True, iter(self._batches)
            found = next(self._source, done)
        if found is done:
            raise TaskError(f"the task's training {self._name} yield no batch; give at least one")
        return found
