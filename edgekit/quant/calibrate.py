"""Calibration batches on their way into the observed model: checked, cut to the model's batch, counted.

A batch is an array or tensor, or a tuple of them, one per input; its first dimension may hold any multiple of the
program's batch. Only one batch is ever held.
"""

import logging
from collections.abc import Iterable, Iterator
from itertools import chain, islice

import numpy as np
import torch
from torch.fx import GraphModule

from edgekit.engine.user_code import describe
from edgekit.errors import EdgekitError, TaskError

log = logging.getLogger("edgekit")

Batch = tuple[torch.Tensor, ...]

#: key of a graph module's `meta`: how many samples it may be given at once, though it was exported for one
TOGETHER = "samples together"
FEW = 8
NO_BATCH = "the task's calibration yields no batch; give at least one, better 100, typical inputs"


def calibrate(model: GraphModule, batches: Iterable[object], like: Batch, limit: int) -> tuple[int, int]:
    """Runs calibration batches through a model.

    Args:
        model: The observed graph.
        batches: The calibration batches, read one at a time.
        like: The model's inputs, for shapes and types.
        limit: The largest number of batches to run.

    Returns:
        How many batches were run, and how many inputs, counted as the program takes them.

    Raises:
        TaskError: A batch does not fit the model's inputs, or there is none.
    """
    used = runs = 0
    source = islice(yielded(batches), limit)
    with torch.no_grad():
        while count := _run(model, source, like, used):
            runs += count
            used += 1
            progress(used, limit)
    if not used:
        raise TaskError(NO_BATCH)
    return used, runs


def _run(model: GraphModule, source: Iterator[object], like: Batch, number: int) -> int:
    """Takes the next batch and forgets it before another one is made; returns the inputs run, 0 at the end."""
    runs, together = 0, model.meta.get(TOGETHER, 1)
    for batch in islice(source, 1):
        for piece in pieces(batch, like, number, together):
            model(*piece)
            runs += 1 if _is_one(piece, like) else piece[0].shape[0] // like[0].shape[0]
    return runs


def a_few(batches: Iterable[object], like: Batch) -> list[Batch]:
    """Returns up to FEW inputs of the first batches; none of an iterator, which gives each batch only once."""
    if iter(batches) is batches:
        return []
    each = (islice(pieces(batch, like, n), FEW // 2) for n, batch in enumerate(yielded(batches)))
    return list(islice(chain.from_iterable(each), FEW))


def yielded(batches: Iterable[object]) -> Iterator[object]:
    """Yields the batches of the user's iterable.

    Raises:
        TaskError: The iteration itself raised; the error names the line it came from.
    """
    try:
        yield from batches
    except EdgekitError:
        raise
    except Exception as error:
        raise TaskError(f"the task's calibration raised {describe(error)}") from error


def progress(done: int, total: int) -> None:
    """Logs one line for every tenth of a long run."""
    step = max(1, total // 10)
    if done % step == 0 or done == total:
        log.info("calibration: batch %d of at most %d", done, total)


def pieces(batch: object, like: Batch, number: int, together: int = 1) -> Iterator[Batch]:
    """Cuts a checked batch into pieces of the model's own batch size.

    The last piece overlaps the one before where N is not a multiple of that size.

    Args:
        batch: A batch as the user gives it.
        like: The model's inputs, for shapes and types.
        number: The position of the batch, for error messages.
        together: How many samples a model of batch 1 may be given in one piece.

    Yields:
        The pieces, one tensor per input.

    Raises:
        TaskError: The batch does not fit.
    """
    tensors = checked(batch, like, number)
    if _is_one(tensors, like):
        yield tensors
        return
    size, total = like[0].shape[0], tensors[0].shape[0]
    step = together if size == 1 else size
    for start in range(0, total, step):
        start = start if size == 1 else min(start, total - size)
        yield tuple(tensor[start : start + step] for tensor in tensors)


def checked(batch: object, like: Batch, number: int) -> Batch:
    """Returns the batch as tensors.

    Raises:
        TaskError: The batch does not fit; the error names the batch, what was given and what is expected.
    """
    values = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
    where = f"calibration batch {number}"
    if len(values) != len(like):
        raise TaskError(f"{where} holds {len(values)} inputs; the model takes {len(like)}")
    tensors = tuple(_tensor(value, where) for value in values)
    one = _is_one(tensors, like)  # whose samples need not be first
    for index, (tensor, want) in enumerate(zip(tensors, like, strict=True)):
        _check(
            tensor, want, want if one else tensors[0], f"{where}, input {index}" if len(like) > 1 else where
        )
    return tensors


def _is_one(tensors: Batch, like: Batch) -> bool:
    """Whether these are the inputs of one run, in the shapes of the program."""
    return all(tensor.shape == want.shape for tensor, want in zip(tensors, like, strict=True))


def _tensor(value: object, where: str) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return _in_float32(
            value.detach().cpu().clone()
        )  # the user's data stays, whatever a graph writes into
    if isinstance(value, np.ndarray | np.generic):
        return _in_float32(torch.from_numpy(np.array(value, order="C")))
    raise TaskError(
        f"{where} is a {type(value).__name__}; expected a torch tensor, a numpy array or a tuple of them"
    )


def _in_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _check(tensor: torch.Tensor, want: torch.Tensor, first: torch.Tensor, where: str) -> None:
    given, expected = list(tensor.shape), list(want.shape)
    if given[1:] != expected[1:] or tensor.dim() != want.dim():
        raise TaskError(f"{where} has shape {given}; the model takes {['N', *expected[1:]]}, any N")
    if expected and (given[0] < expected[0] or given[0] != first.shape[0]):
        raise TaskError(
            f"{where} holds {given[0]} samples; expected at least {expected[0]}, the same in all inputs"
        )
    if tensor.dtype != want.dtype:
        raise TaskError(f"{where} has type {_name(tensor.dtype)}; the model takes {_name(want.dtype)}")
    if (
        tensor.is_floating_point()
        and tensor.numel()
        and not torch.stack(torch.aminmax(tensor)).isfinite().all()
    ):
        raise TaskError(f"{where} holds NaN or infinite values; calibrate with finite inputs")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
