"""The axes that the user leaves free, asked of torch: is the model the same for other lengths, and what depends on them?

A task says them by input: `dynamic={"ids": {0: "batch", 1: ek.Dim("length", min=1, max=512)}}`; one name is one length, wherever it
stands. Where it says nothing, the samples of every input are tried, for the targets that serve (`free_batch` in their profile).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch

from edgekit.errors import ConversionError, TaskError
from edgekit.quant import first_states, free_arguments, free_axes
from edgekit.records import FreeAxes, FreeAxis, TensorSpec
from edgekit.task import Dim, Task
from edgekit.trace.sources import keras


def find(
    task: Task, inputs: Sequence[TensorSpec], model: torch.nn.Module, examples: tuple[torch.Tensor, ...]
) -> FreeAxes | None:
    """Returns what is free, or why nothing is; None where the task wants nothing free.

    Raises:
        TaskError: The task names an input or an axis that is not there, or the model fixes an axis that it names.
    """
    if task.dynamic is None:
        asked = _samples(inputs)
    elif task.dynamic:
        asked = _said(task.dynamic, inputs)
    else:
        return None
    if not asked.axes:
        return None
    try:
        return _looked_at(model, examples, asked)
    except ConversionError as error:
        if task.dynamic is not None:
            raise TaskError(
                f"{error}. Leave it out of Task(dynamic=...), or let forward take its length from the shape"
            ) from error
        return FreeAxes(reason=str(error))


def _samples(inputs: Sequence[TensorSpec]) -> FreeAxes:
    axes = tuple(
        {} if spec.batch_axis is None else {str(spec.batch_axis): free_axes.BATCH} for spec in inputs
    )
    return FreeAxes(axes=(FreeAxis(name=free_axes.BATCH, default=True),) if any(axes) else (), inputs=axes)


def _said(dynamic: Mapping[str, Mapping[int, Any]], inputs: Sequence[TensorSpec]) -> FreeAxes:
    shapes = {spec.name: spec.shape for spec in inputs}
    named: dict[str, FreeAxis] = {}
    for name, axes in dynamic.items():
        if name not in shapes:
            raise TaskError(f"dynamic names {name!r}; the model has the inputs {', '.join(shapes)}")
        for number, given in axes.items():
            if not isinstance(number, int) or not 0 <= number < len(shapes[name]):
                raise TaskError(
                    f"dynamic names axis {number!r} of {name}, whose shape is {list(shapes[name])}"
                )
            axis = _axis(given, shapes[name][number], name)
            known = named.setdefault(axis.name, axis)
            named[axis.name] = _both(known, axis)
    found = tuple(
        {str(n): _name(given) for n, given in dynamic.get(spec.name, {}).items()} for spec in inputs
    )
    return FreeAxes(axes=tuple(named.values()), inputs=found)


def _name(given: Any) -> str:
    return given.name if isinstance(given, Dim) else str(given)


def _axis(given: Any, example: int, where: str) -> FreeAxis:
    dim = given if isinstance(given, Dim) else Dim(given)
    if not dim.min <= example <= (dim.max or example):
        raise TaskError(
            f"the axis {dim.name} of {where} is {example} in example_inputs; Dim allows {dim.min} to {dim.max or 'any'}"
        )
    return FreeAxis(name=dim.name, least=dim.min, most=dim.max, example=example)


def _both(known: FreeAxis, other: FreeAxis) -> FreeAxis:
    if known.example != other.example:
        raise TaskError(
            f"the axis {known.name} is {known.example} and {other.example} in example_inputs; one name is one length"
        )
    most = min((m for m in (known.most, other.most) if m is not None), default=None)
    return msgspec.structs.replace(known, least=max(known.least, other.least), most=most)


def _looked_at(model: torch.nn.Module, examples: tuple[torch.Tensor, ...], asked: FreeAxes) -> FreeAxes:
    given = free_axes.stretched(examples, asked, free_axes.tracing_lengths(asked))
    try:
        with keras.layers_named(model):
            program = torch.export.export(model, given, dynamic_shapes=_by_parameter(model, asked))
    except (TaskError, ConversionError):
        raise
    except Exception as error:  # torch raises many kinds
        raise ConversionError(free_axes.fixed_sentence(error, asked)) from error
    first_states.check(program)
    return msgspec.structs.replace(
        asked,
        arguments=free_arguments.written_down(program, asked),
        outputs=free_arguments.outputs_of(program, asked),
    )


def _by_parameter(model: torch.nn.Module, asked: FreeAxes) -> tuple[Any, ...]:
    """Returns the axes as forward takes its inputs: those of `*inputs`, as a Keras model has them, are one tuple."""
    bound = inspect.signature(model.forward).bind(*free_axes.dims_of(asked))
    return tuple(bound.arguments.values())


# ------------------------------------------------------------------------------------------------ what is to be proven


def proofs(
    free: FreeAxes,
    inputs: Sequence[TensorSpec],
    samples: Sequence[torch.Tensor],
    call: Callable[..., Sequence[torch.Tensor]],
) -> dict[str, np.ndarray]:
    """Asks the float model at every length.

    Args:
        free: The axes.
        inputs: The inputs of the model.
        samples: Inputs of the metric in the model's own form, several samples where they have an axis.
        call: The model.

    Returns:
        `input_<i>_<k>` and `output_<i>_<k>` of the k-th length.
    """
    found: dict[str, np.ndarray] = {}
    for number, each in enumerate(free_axes.proven_lengths(free, inputs)):
        given = free_axes.stretched(samples, free, each)
        with torch.no_grad():
            answers = call(*(x.clone() for x in given))
        found |= {f"input_{i}_{number}": x.numpy() for i, x in enumerate(given)}
        found |= {f"output_{i}_{number}": x.detach().numpy() for i, x in enumerate(answers)}
    return found
