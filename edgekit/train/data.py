"""Training batches on their way into the model: checked, split over processes, in a reproducible order.

A batch of the task is one step of all processes together. Each process takes its part of the rows, so two
processes with half a batch each do what one process does with the whole batch, and a budget in images keeps
its meaning.

Random numbers come from two separate sources. What the data draws (order, crops, flips) is seeded with the
epoch; what the model draws (dropout) is seeded with the step and the process. So a resumed training needs no
saved generators: it reads the epoch again up to where it was.
"""

import logging
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils import _pytree as pytree

from edgekit.engine.user_code import describe
from edgekit.errors import EdgekitError, TaskError
from edgekit.task import Training

log = logging.getLogger("edgekit")

EXPECTED = "a training batch is a pair (inputs, labels); inputs are a tensor, an array or a tuple of them"
_MIX = 1_000_003


class Batch(NamedTuple):
    """The part of a batch that one process takes.

    Attributes:
        inputs: The inputs of the model.
        labels: The labels, of any structure.
        rows: The samples in the whole batch.
        share: The weight of this part's mean loss in the mean over processes; 1 where the rows divide evenly.
    """

    inputs: tuple[torch.Tensor, ...]
    labels: Any
    rows: int
    share: float

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch on a device."""
        moved = [
            pytree.tree_map(lambda v: v.to(device) if isinstance(v, torch.Tensor) else v, part)
            for part in (self.inputs, self.labels)
        ]
        return Batch(moved[0], moved[1], self.rows, self.share)


def seed_step(seed: int, number: int, rank: int) -> None:
    """Seeds what the model draws in one step, which then depends on nothing before it."""
    _seed(((seed * _MIX + number) * _MIX + rank) % 2**32)


def _seed(value: int) -> None:
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


class Stream:
    """Batches without end, epoch after epoch; `epoch` and `index` tell the position.

    Args:
        batches: The batches of the task.
        seed: The seed of the training.
        rank: The number of this process.
        processes: How many there are.
        epoch: The epoch to begin with.
        index: The number of batches of that epoch to skip.

    Raises:
        TaskError: A batch has the wrong form, or the data itself raised an error.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        seed: int,
        rank: int = 0,
        processes: int = 1,
        epoch: int = 0,
        index: int = 0,
    ) -> None:
        self.epoch, self.index = epoch, index
        self._batches, self._seed = batches, seed
        self._rank, self._processes = rank, processes
        self._inside: tuple[Any, ...] | None = None

    def __iter__(self) -> Iterator[Batch]:
        skip = self.index
        while True:
            self._inside, self.index = None, 0
            for number, batch in enumerate(self._read()):
                self.index = number + 1
                if number >= skip:
                    yield part(pair(batch, number), self._rank, self._processes)
            if not self.index:
                raise TaskError(
                    "the task's training yields no batch; give at least one, better thousands of samples"
                )
            self.epoch, skip = self.epoch + 1, 0

    def _read(self) -> Iterator[Any]:
        """One epoch, in which each batch is drawn with the data's own generators."""
        done = object()
        try:
            with self._drawing(first=True):
                source = iter(self._batches)
            while True:
                with self._drawing():
                    batch = next(source, done)
                if batch is done:
                    return
                yield batch
        except EdgekitError:
            raise
        except Exception as error:
            raise TaskError(f"the task's training batches raised {describe(error)}") from error

    @contextmanager
    def _drawing(self, first: bool = False) -> Iterator[None]:
        outside = _states()
        if first:
            _seed((self._seed * _MIX + self.epoch) % 2**32)
        elif self._inside is not None:
            _restore(self._inside)
        try:
            yield
        finally:
            self._inside = _states()
            _restore(outside)


def _states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _restore(states: tuple[Any, ...]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def pair(batch: Any, number: int) -> tuple[tuple[torch.Tensor, ...], Any, int]:
    """Takes a batch apart.

    Args:
        batch: What the task yields.
        number: Its number, for messages.

    Returns:
        (inputs, labels, rows).

    Raises:
        TaskError: It has another form; the message names the batch and what it is.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        kind = (
            f"{type(batch).__name__} of {len(batch)}"
            if isinstance(batch, tuple | list)
            else type(batch).__name__
        )
        raise TaskError(f"training batch {number} is a {kind}; {EXPECTED}")
    given = batch[0] if isinstance(batch[0], tuple | list) else (batch[0],)
    if not given or not all(isinstance(value, torch.Tensor | np.ndarray) and value.ndim for value in given):
        kinds = ", ".join(type(value).__name__ for value in given) or "nothing"
        raise TaskError(f"training batch {number} has inputs of {kinds}; {EXPECTED}")
    inputs = tuple(torch.as_tensor(value) for value in given)
    labels = pytree.tree_map(lambda v: torch.as_tensor(v) if isinstance(v, np.ndarray) else v, batch[1])
    rows = len(inputs[0])
    counts = {
        len(value)
        for value in (*inputs, *pytree.tree_leaves(labels))
        if isinstance(value, torch.Tensor) and value.dim()
    }
    if counts != {rows} or not rows:
        raise TaskError(
            f"training batch {number} holds {rows} inputs and labels for {sorted(counts)} samples; "
            "both must be the same number, at least 1"
        )
    return inputs, labels, rows


def part(whole: tuple[tuple[torch.Tensor, ...], Any, int], rank: int, processes: int) -> Batch:
    """Returns the rows of one process.

    A process that gets none computes on a row that does not count, so that all processes stay in step.
    """
    inputs, labels, rows = whole
    start, stop = rows * rank // processes, rows * (rank + 1) // processes
    share = (stop - start) * processes / rows
    chosen = slice(start, stop) if stop > start else slice(0, 1)

    def cut(value: Any) -> Any:
        return value[chosen] if isinstance(value, torch.Tensor) and value.dim() else value

    return Batch(tuple(cut(x) for x in inputs), pytree.tree_map(cut, labels), rows, share)


def check_again(batches: Iterable[Any], name: str) -> None:
    """Checks that batches can be read more than once.

    Args:
        batches: What the task gave.
        name: The field of `Training` that they are of.

    Raises:
        TaskError: They are an iterator.
    """
    if isinstance(batches, Iterator):
        raise TaskError(
            f"the task's training {name} are a one-shot iterator; give something that can be iterated again: "
            "a list, a DataLoader, or an object with __iter__"
        )


def first(training: Training, seed: int, count: int) -> list[Batch]:
    """Returns the first batches of the first epoch, whole."""
    return list(islice(Stream(training.batches, seed), count))
