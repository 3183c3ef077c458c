"""Which axis of an input or an output holds the samples: by the task's word, by rule, or by what grows with a second sample."""

from collections.abc import Callable, Sequence

import torch

from edgekit.errors import TaskError
from edgekit.task import Task
from edgekit.trace.leaves import Leaves


def input_axes(task: Task, found: Leaves) -> tuple[int | None, ...]:
    """Finds the axis of the samples of each input, by the task's word or by rule.

    A number without axes has none. [1, ...] has its samples first. Beside such an input, [L, 1, ...] is the state of a recurrent
    layer, and anything else is the same for all samples.
    """
    several = any(t.dim() > 0 and t.shape[0] == 1 for t in found.leaves)
    return tuple(
        _said(task, name, tensor) if name in task.batch_axes else _axis(tensor, several, place)
        for name, tensor, place in zip(found.names, found.leaves, found.places, strict=True)
    )


def _axis(tensor: torch.Tensor, several: bool, place: str) -> int | None:
    if tensor.dim() == 0:
        return None
    if tensor.shape[0] == 1:
        return 0
    if not several:
        raise TaskError(
            f"{place} has shape {list(tensor.shape)}; the first dimension is the batch and must be 1. Of an input without samples say "
            "so in the task: batch_axes={'its name': None}"
        )
    return 1 if tensor.dim() >= 3 and tensor.shape[1] == 1 else None


def _said(task: Task, name: str, tensor: torch.Tensor) -> int | None:
    axis = task.batch_axes[name]
    if axis is not None and not (0 <= axis < tensor.dim() and tensor.shape[axis] == 1):
        raise TaskError(
            f"batch_axes says that axis {axis} of {name} holds the samples, and its shape is {list(tensor.shape)}; that axis must be 1"
        )
    return axis


def output_axes(
    task: Task,
    names: Sequence[str],
    leaves: Sequence[torch.Tensor],
    of_two: Callable[[], list[torch.Tensor]],
    samples_first: bool,
) -> tuple[int | None, ...]:
    """Finds the axis of the samples of each output: by the task's word, [1, ...], or by what grows with a second sample."""
    plain = samples_first and all(t.dim() and t.shape[0] == 1 for t in leaves)
    two = [] if plain else of_two()
    fits = len(two) == len(leaves)
    axes: list[int | None] = []
    for number, (name, tensor) in enumerate(zip(names, leaves, strict=True)):
        if name in task.batch_axes:
            axes.append(_said(task, name, tensor))
            continue
        grown = _grown(tensor, two[number]) if fits else None
        if grown is None and tensor.dim() and tensor.shape[0] == 1:
            grown = 0
        axes.append(grown if fits or grown is not None else _by_rule(tensor))
    return tuple(axes)


def _grown(one: torch.Tensor, two: torch.Tensor) -> int | None:
    if one.dim() != two.dim():
        return None
    return next((i for i in range(one.dim()) if two.shape[i] == 2 * one.shape[i] != 0), None)


def _by_rule(tensor: torch.Tensor) -> int | None:
    return 1 if tensor.dim() >= 3 and tensor.shape[1] == 1 else None
