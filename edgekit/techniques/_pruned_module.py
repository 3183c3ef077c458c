"""The torch module behind a candidate's program, the data that pruning looks at, and what it reports."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgekit.engine.task_reference import build
from edgekit.engine.user_code import describe
from edgekit.errors import ConversionError, NotApplicable, TaskError
from edgekit.prune import saved
from edgekit.prune.plain import plain
from edgekit.prune.shrink import Shrunk
from edgekit.prune.weights import fill
from edgekit.quant import calibrate
from edgekit.quant import program as programs
from edgekit.records import Candidate
from edgekit.trace.model import model_of
from edgekit.trace.sources import keras
from edgekit.train.data import Batch, Stream
from edgekit.train.first_batch import check

if TYPE_CHECKING:
    from edgekit.task import Task


def module_of(candidate: Candidate, task: "Task") -> nn.Module:
    """Returns what the candidate's program was made from: an earlier step's student, or the task's module.

    It has no parametrizations, like the program.

    Raises:
        NotApplicable: The student is an exported program, which has no modules.
    """
    if not candidate.student:
        return plain(model_of(task))
    if candidate.student.endswith(".pt2"):
        raise NotApplicable(
            f"prune follows channels through the layers of a module, and the student {candidate.student} is an exported program; give "
            "distill the student as file.py:function"
        )
    return plain(model_of(replace(task, model=build(candidate.student))))


def loaded(
    candidate: Candidate, fresh: nn.Module, examples: tuple[torch.Tensor, ...]
) -> tuple[nn.Module, saved.Saved | None]:
    """Loads a candidate into the task's module.

    Args:
        candidate: The candidate.
        fresh: The task's module, which stays as it is.
        examples: Inputs for a comparison with the program.

    Returns:
        A module with the shapes and weights of the candidate, and what earlier steps removed from it.

    Raises:
        NotApplicable: It is a Keras model.
        ConversionError: It cannot be copied, or does not fit the program.
    """
    if isinstance(fresh, keras.KerasModule) or keras.has_layers(fresh):
        raise NotApplicable(
            "pruning needs a torch module; a Keras model is none whose layers could be narrowed"
        )
    try:
        module = copy.deepcopy(fresh)
    except Exception as error:
        raise ConversionError(
            f"pruning needs a copy of the model, and {type(fresh).__name__} cannot be copied: {describe(error)}"
        ) from error
    earlier = saved.rebuild(module, Path(candidate.pruned)) if candidate.pruned else None
    fill(module, programs.load(candidate.program), examples)
    return module, earlier


def batches_of(module: nn.Module, task: "Task", images: int, seed: int) -> list[Batch]:
    """Training batches that hold about so many images; none without training data.

    Raises TaskError if the module or the loss cannot take them.
    """
    found: list[Batch] = []
    if task.training is None:
        return found
    for batch in Stream(task.training.batches, seed):
        found.append(batch)
        images -= batch.rows
        if images <= 0:
            break
    check(module, task.training, found[0])
    return found


def inputs_of(
    task: "Task", examples: tuple[torch.Tensor, ...], seed: int
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yields inputs of the training data, else of the calibration data.

    Raises:
        TaskError: There is neither.
    """
    if task.training is not None:
        yield from (batch.inputs for batch in Stream(task.training.batches, seed))
    elif task.calibration is not None:
        for number, batch in enumerate(calibrate.yielded(task.calibration)):
            yield calibrate.checked(batch, examples, number)
    else:
        raise TaskError(
            f"task {task.name!r} has neither training nor calibration data; set recalibrate=0 to prune without"
        )


def joined(short: Shrunk, narrow: Shrunk) -> Shrunk:
    """Returns both steps as one: shares count from the first."""
    return replace(narrow, macs_before=short.macs_before, dropped=short.dropped)


def sizes_of(module: nn.Module, shrunk: Shrunk) -> dict[str, tuple[float, str]]:
    """Returns how much of a module is left, as figures."""
    was, now = (sum(p.numel() for p in net.parameters()) for net in (module, shrunk.module))
    before, after = (sum(pair[side] for pair in shrunk.widths.values()) for side in (0, 1))
    whole = sum(1 for old, new in shrunk.widths.values() if old == new)
    return {
        "MACs before": (shrunk.macs_before, "count"),
        "MACs": (shrunk.macs, "count"),
        "MACs kept": (shrunk.macs / shrunk.macs_before, "ratio"),
        "parameters before": (was, "count"),
        "parameters": (now, "count"),
        "parameters kept": (now / was, "ratio"),
        "groups of channels": (len(shrunk.widths), "count"),
        "groups left whole": (whole, "count"),
        "channels kept": (after / before if before else 1.0, "ratio"),
        "blocks dropped": (len(shrunk.dropped), "count"),
    }
