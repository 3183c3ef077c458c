"""The door: what the user's model takes and returns, by one call of it, written down as an `Interface`.

`edgekit.trace.flat` makes one flat program of it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import torch

from edgekit.errors import ConversionError, TaskError
from edgekit.records import Interface, Tree
from edgekit.task import Task
from edgekit.trace.flat import call_of
from edgekit.trace.forward import called
from edgekit.trace.leaves import PICK, Leaves, example_tensor
from edgekit.trace.sample_axes import input_axes, output_axes
from edgekit.trace.sources import state


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
        input_axes=input_axes(task, taken),
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
    tree = found.walk(_answered(model, interface, examples), "output", "")
    if not found.leaves:
        raise TaskError(
            f"the model's forward returned no tensor; an artifact has at least one output. {PICK}"
        )
    names = ("output_0",) if tree.kind == "tensor" else tuple(found.names)
    _check_real(names, found.leaves)
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
    axes = output_axes(task, names, found.leaves, of_two, first)
    places = dict(zip(interface.inputs, interface.input_axes, strict=True))
    axes = tuple(
        places[task.state[n]] if n in task.state else axis for n, axis in zip(names, axes, strict=True)
    )
    return msgspec.structs.replace(
        interface, outputs=names, output_axes=axes, result=tree, state=dict(task.state)
    )


def _check_real(names: Sequence[str], leaves: Sequence[torch.Tensor]) -> None:
    """Checks that the answer is in real numbers.

    Raises:
        TaskError: An output is complex.
    """
    name = next((name for name, leaf in zip(names, leaves, strict=True) if leaf.is_complex()), None)
    if name is not None:
        raise TaskError(
            f"the model's forward returned complex numbers as {name}, and no artifact has them; return torch.view_as_real(...) of them, "
            "or the real and the imaginary part"
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


def _answered(model: torch.nn.Module, interface: Interface, leaves: Sequence[torch.Tensor]) -> Any:
    """Calls forward as the user does, and says what it was called with where that fails."""
    args, kwargs = call_of(interface, [leaf.clone() for leaf in leaves])
    with called(model, leaves), state.same_chance():
        return model(*args, **kwargs)


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
        found.walk(_answered(model, interface, twice), "output", "")
    except (TaskError, ConversionError):
        return []
    return found.leaves


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
