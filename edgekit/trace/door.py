"""The door: what the user's model takes and returns, by one call of it, written down as an `Interface`.

`edgekit.trace.flat` makes one flat program of it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import torch

from edgekit.engine.user_code import describe
from edgekit.errors import ConversionError, TaskError
from edgekit.quant.first_states import Guard
from edgekit.records import Interface, Tree
from edgekit.task import Task
from edgekit.trace.flat import call_of
from edgekit.trace.leaves import PICK, Leaves, example_tensor
from edgekit.trace.sources import keras, state

# ------------------------------------------------------------------------------------------------ inputs


def bind(forward: Callable[..., Any], given: Any) -> tuple[dict[str, Any], str, bool]:
    """Gives the example inputs the names of forward's parameters.

    Returns:
        Parameter -> example, the parameter that takes any number of them, and whether they were given by name.

    Raises:
        TaskError: The names do not fit forward.
    """
    signature = inspect.signature(forward)
    by_name = isinstance(given, Mapping)
    try:
        call = signature.bind(**given) if by_name else signature.bind(*given)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise TaskError(
            f"example_inputs do not fit the model's forward, which takes {takes}: {error}"
        ) from error
    found, variadic = dict(call.arguments), ""
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= found.pop(name, {})
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL and name in found:
            variadic = name
    return found, variadic, by_name


def _input_axes(task: Task, found: Leaves) -> tuple[int | None, ...]:
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


# ------------------------------------------------------------------------------------------------ looking


def look(task: Task, model: torch.nn.Module) -> tuple[Interface | None, tuple[torch.Tensor, ...]]:
    """Calls the model once, as the user does, and writes down what it takes and returns.

    Returns:
        The names and structures, None where they are plain: a tuple of tensors in, one tensor or a tuple of them out, samples
        first in each. And the example inputs, one tensor after the other.

    Raises:
        TaskError: Something goes in or comes out that no artifact can take or return.
    """
    arguments, variadic, by_name = bind(model.forward, task.example_inputs)
    taken, items = Leaves("example_inputs"), []
    for number, (name, value) in enumerate(arguments.items()):
        place = repr(name) if by_name else str(number)
        items.append(
            taken.walk(value, name, "example_inputs" if name == variadic else f"example_inputs[{place}]")
        )
    if not taken.leaves:
        raise TaskError(
            "example_inputs hold no tensor; give what forward takes, e.g. (torch.zeros(1, 3, 224, 224),)"
        )
    examples = tuple(example_tensor(t, w) for t, w in zip(taken.leaves, taken.places, strict=True))
    interface = Interface(
        inputs=tuple(taken.names),
        outputs=(),
        input_axes=_input_axes(task, taken),
        output_axes=(),
        arguments=Tree(kind="dict", keys=tuple(arguments), items=tuple(items)),
        result=Tree(kind="none"),
        variadic=variadic,
        keywords=by_name,
    )
    interface = _with_results(task, interface, model, examples)
    named = bool(task.dynamic or task.state)  # which speak of inputs by their names
    return (None if _is_plain(interface) and not named else interface), examples


def _with_results(
    task: Task, interface: Interface, model: torch.nn.Module, examples: Sequence[torch.Tensor]
) -> Interface:
    found = Leaves("result")
    tree = found.walk(_called(model, interface, examples), "output", "")
    if not found.leaves:
        raise TaskError(
            f"the model's forward returned no tensor; an artifact has at least one output. {PICK}"
        )
    names = ("output_0",) if tree.kind == "tensor" else tuple(found.names)
    unknown = [name for name in task.batch_axes if name not in (*interface.inputs, *names)]
    if unknown:
        raise TaskError(
            f"batch_axes names {unknown[0]!r}; the model has the inputs {', '.join(interface.inputs)} and the outputs {', '.join(names)}"
        )
    _check_state(
        task.state,
        dict(zip(interface.inputs, examples, strict=True)),
        dict(zip(names, found.leaves, strict=True)),
    )
    of_two = partial(_answers_of_two, model, interface, examples)
    first = all(axis == 0 for axis in interface.input_axes)
    axes = _output_axes(task, names, found.leaves, of_two, first)
    places = dict(zip(interface.inputs, interface.input_axes, strict=True))
    axes = tuple(
        places[task.state[n]] if n in task.state else axis for n, axis in zip(names, axes, strict=True)
    )
    return msgspec.structs.replace(
        interface, outputs=names, output_axes=axes, result=tree, state=dict(task.state)
    )


def _check_state(
    state: Mapping[str, str], inputs: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]
) -> None:
    """Checks that every output of the state can be given to its input.

    Raises:
        TaskError: There is no such output or input, or they are of other shapes or types.
    """
    for output, name in state.items():
        if output not in outputs or name not in inputs:
            what = f"the output {output!r}" if output not in outputs else f"the input {name!r}"
            raise TaskError(
                f"state names {what}; the model has the outputs {', '.join(outputs)} and the inputs {', '.join(inputs)}"
            )
        given, taken = outputs[output], inputs[name]
        if given.shape != taken.shape or given.dtype != taken.dtype:
            raise TaskError(
                f"state gives {output} to {name}, and they are {list(given.shape)} {given.dtype} and {list(taken.shape)} {taken.dtype}; "
                "a state has one shape and type"
            )
    if len(set(state.values())) < len(state):
        raise TaskError(f"state gives several outputs to one input: {dict(state)}")


def _called(model: torch.nn.Module, interface: Interface, leaves: Sequence[torch.Tensor]) -> Any:
    """Calls forward as the user does, and says what it was called with where that fails."""
    shapes = ", ".join(f"{list(e.shape)} {str(e.dtype).removeprefix('torch.')}" for e in leaves)
    args, kwargs = call_of(interface, [leaf.clone() for leaf in leaves])
    try:
        with torch.no_grad(), state.same_chance(), keras.layers_named(model), Guard():
            return model(*args, **kwargs)
    except (ConversionError, TaskError):
        raise
    except Exception as error:
        raise TaskError(
            f"the model's forward, called with example_inputs ({shapes}), raised {describe(error)}"
        ) from error


def _answers_of_two(
    model: torch.nn.Module, interface: Interface, examples: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Returns what is answered to two samples; nothing where the model takes only one."""
    twice = [
        t if axis is None else torch.cat([t, t], axis)
        for t, axis in zip(examples, interface.input_axes, strict=True)
    ]
    found = Leaves("result")
    try:
        found.walk(_called(model, interface, twice), "output", "")
    except (TaskError, ConversionError):
        return []
    return found.leaves


def _output_axes(
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


def _is_plain(interface: Interface) -> bool:
    result = interface.result
    return (
        not interface.keywords
        and all(axis == 0 for axis in (*interface.input_axes, *interface.output_axes))
        and all(
            item.kind == "tensor"
            or (key == interface.variadic and all(i.kind == "tensor" for i in item.items))
            for key, item in zip(interface.arguments.keys, interface.arguments.items, strict=True)
        )
        and (
            result.kind == "tensor"
            or (
                result.kind == "tuple"
                and len(result.items) > 1
                and all(i.kind == "tensor" for i in result.items)
            )
        )
    )
