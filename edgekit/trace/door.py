"""The door: whatever structure the user's model takes and returns, one flat program of tensors comes of it.

The model is called once as the user calls it. What it takes and returns is written down as an `Interface`, and its forward then
takes the tensors one by one and returns a tuple of them. The module itself, its layers and its weights stay what they are:
only its class is another one.
"""

import copy
import dataclasses
import inspect
import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
import torch

from edgekit import structure
from edgekit.errors import ConversionError, TaskError
from edgekit.records import Interface, Tree
from edgekit.task import Task, Training, describe
from edgekit.trace.sources import keras, state

DTYPES = (torch.float32, torch.uint8, torch.int8, torch.int32, torch.int64, torch.bool)
ALLOWED = "float16, float32, float64, int8, uint8, int32, int64 and bool"
PICK = "Wrap the model in a module that picks tensors"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlatTask(Task):
    """A task whose example inputs, calibration, training and metric are those of the flat program."""

    interface: Interface

    def __post_init__(self) -> None:
        """Checks nothing: the user's task was checked."""


class _Names:
    """The tensors of a structure with their names, in the order they are met."""

    def __init__(self, place: str) -> None:
        self.names: list[str] = []
        self.leaves: list[torch.Tensor] = []
        self.places: list[str] = []
        self._place = place

    def walk(self, value: Any, name: str, where: str) -> Tree:
        """Describes a value.

        Args:
            value: The value.
            name: The name of a tensor that stands here.
            where: The path as Python writes it, for messages.

        Raises:
            TaskError: There is something that no artifact can take or return.
        """
        if isinstance(value, torch.Tensor | np.ndarray):
            return self._tensor(torch.as_tensor(value), name, where)
        if value is None:
            return Tree(kind="none")
        if isinstance(value, bool | int | str):
            return Tree(kind="value", value=value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._named(_fields(value), name, where, value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._named(dict(zip(value._fields, value, strict=True)), name, where, value)
        if isinstance(value, Mapping):
            return self._named(value, name, where)
        if isinstance(value, tuple | list):
            items = tuple(self.walk(v, f"{name}_{i}", f"{where}[{i}]") for i, v in enumerate(value))
            return Tree(kind="tuple" if isinstance(value, tuple) else "list", items=items)
        raise TaskError(self._refused(value, where))

    def _named(self, fields: Mapping[Any, Any], name: str, where: str, owner: Any = None) -> Tree:
        top = name in ("", "output")
        items = tuple(self.walk(v, _key(k) if top else f"{name}.{k}", f"{where}[{k!r}]") for k, v in fields.items())
        kind = type(owner)
        place = "" if owner is None else f"{kind.__module__}:{kind.__qualname__}"
        return Tree(kind="dict" if owner is None else "object", keys=tuple(fields), items=items, type=place)

    def _tensor(self, tensor: torch.Tensor, name: str, where: str) -> Tree:
        while name in self.names:
            name += "_1"
        self.names.append(name)
        self.leaves.append(tensor)
        self.places.append(where)
        return Tree(kind="tensor", index=len(self.leaves) - 1)

    def _refused(self, value: Any, where: str) -> str:
        kind = type(value).__name__
        if self._place == "example_inputs":
            return f"{where} is a {kind}; give torch tensors, or lists, tuples and dicts of them"
        if where == "":
            return f"the model's forward returned a {kind}; it must return tensors, or tuples, lists, dicts and dataclasses of them. {PICK}"
        return f"the model's forward returned a {kind} at {where}; allowed are tensors, None, and tuples, lists, dicts and dataclasses of them. {PICK}"


def _key(key: Any) -> str:
    return key if isinstance(key, str) else f"output_{key}"


def _fields(value: Any) -> dict[str, Any]:
    """Lists the fields of a dataclass; those of a ModelOutput that are not None."""
    if isinstance(value, Mapping):
        return dict(value)
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


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
        raise TaskError(f"example_inputs do not fit the model's forward, which takes {takes}: {error}") from error
    found, variadic = dict(call.arguments), ""
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= found.pop(name, {})
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL and name in found:
            variadic = name
    return found, variadic, by_name


def example_tensor(value: torch.Tensor, where: str) -> torch.Tensor:
    """Returns an example as the artifact takes it, floats in float32.

    Raises:
        TaskError: It is of a type that no artifact takes.
    """
    tensor = value.float() if value.is_floating_point() else value
    if tensor.dtype not in DTYPES:
        raise TaskError(f"{where} is {value.dtype}; allowed are {ALLOWED}")
    return tensor


def _input_axes(task: Task, found: _Names) -> tuple[int | None, ...]:
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
    taken, items = _Names("example_inputs"), []
    for number, (name, value) in enumerate(arguments.items()):
        place = repr(name) if by_name else str(number)
        items.append(taken.walk(value, name, "example_inputs" if name == variadic else f"example_inputs[{place}]"))
    if not taken.leaves:
        raise TaskError("example_inputs hold no tensor; give what forward takes, e.g. (torch.zeros(1, 3, 224, 224),)")
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
    return (None if _is_plain(interface) else interface), examples


def _with_results(
    task: Task, interface: Interface, model: torch.nn.Module, examples: Sequence[torch.Tensor]
) -> Interface:
    found = _Names("result")
    tree = found.walk(_called(model, interface, examples), "output", "")
    if not found.leaves:
        raise TaskError(f"the model's forward returned no tensor; an artifact has at least one output. {PICK}")
    names = ("output_0",) if tree.kind == "tensor" else tuple(found.names)
    unknown = [name for name in task.batch_axes if name not in (*interface.inputs, *names)]
    if unknown:
        raise TaskError(
            f"batch_axes names {unknown[0]!r}; the model has the inputs {', '.join(interface.inputs)} and the outputs {', '.join(names)}"
        )
    axes = _output_axes(task, names, found.leaves, partial(_answers_of_two, model, interface, examples))
    return msgspec.structs.replace(interface, outputs=names, output_axes=axes, result=tree)


def _called(model: torch.nn.Module, interface: Interface, leaves: Sequence[torch.Tensor]) -> Any:
    """Calls forward as the user does, and says what it was called with where that fails."""
    shapes = ", ".join(f"{list(e.shape)} {str(e.dtype).removeprefix('torch.')}" for e in leaves)
    args, kwargs = call_of(interface, [leaf.clone() for leaf in leaves])
    try:
        with torch.no_grad(), state.same_chance(), keras.layers_named(model):
            return model(*args, **kwargs)
    except (ConversionError, TaskError):
        raise
    except Exception as error:
        raise TaskError(
            f"the model's forward, called with example_inputs ({shapes}), raised {describe(error)}"
        ) from error


def call_of(interface: Interface, leaves: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments, by position and by name, that the user's forward takes for these tensors."""
    given = structure.unflatten(interface.arguments, leaves)
    if interface.keywords:
        return [], given
    more = given.pop(interface.variadic, ()) if interface.variadic else ()
    return [*given.values(), *more], {}


def _answers_of_two(
    model: torch.nn.Module, interface: Interface, examples: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Returns what is answered to two samples; nothing where the model takes only one."""
    twice = [
        t if axis is None else torch.cat([t, t], axis)
        for t, axis in zip(examples, interface.input_axes, strict=True)
    ]
    found = _Names("result")
    try:
        found.walk(_called(model, interface, twice), "output", "")
    except TaskError:
        return []
    return found.leaves


def _output_axes(
    task: Task, names: Sequence[str], leaves: Sequence[torch.Tensor], of_two: Callable[[], list[torch.Tensor]]
) -> tuple[int | None, ...]:
    """Finds the axis of the samples of each output: by the task's word, [1, ...], or by what grows with a second sample."""
    plain = all(t.dim() and t.shape[0] == 1 for t in leaves)
    two = [] if plain else of_two()
    fits = len(two) == len(leaves)
    axes: list[int | None] = []
    for number, (name, tensor) in enumerate(zip(names, leaves, strict=True)):
        if name in task.batch_axes:
            axes.append(_said(task, name, tensor))
        elif tensor.dim() and tensor.shape[0] == 1:
            axes.append(0)
        else:
            axes.append(_grown(tensor, two[number]) if fits else _by_rule(tensor))
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
            item.kind == "tensor" or (key == interface.variadic and all(i.kind == "tensor" for i in item.items))
            for key, item in zip(interface.arguments.keys, interface.arguments.items, strict=True)
        )
        and (result.kind == "tensor" or (result.kind == "tuple" and all(i.kind == "tensor" for i in result.items)))
    )


# ------------------------------------------------------------------------------------------------ the flat program


def flattened(model: torch.nn.Module, interface: Interface) -> torch.nn.Module:
    """Returns the same module, its layers and weights shared, that takes tensors one by one and returns a tuple of them."""
    if isinstance(model, torch.jit.ScriptModule) or "forward" in vars(model):
        return _Around(model, interface)
    kind, made = type(model), copy.copy(model)

    def forward(self: Any, *leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        args, kwargs = call_of(interface, leaves)
        return results(interface, kind.forward(self, *args, **kwargs))

    forward.__signature__ = _signature(interface)  # type: ignore[attr-defined]
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "forward": forward}
    made.__class__ = type(kind.__name__, (kind,), names)
    return made


class _Around(torch.nn.Module):
    """Takes tensors one by one for a module whose forward cannot be replaced."""

    def __init__(self, model: torch.nn.Module, interface: Interface) -> None:
        super().__init__()
        self.model, self._interface = model, interface

    def forward(self, *leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        args, kwargs = call_of(self._interface, leaves)
        return results(self._interface, self.model(*args, **kwargs))


def _signature(interface: Interface) -> inspect.Signature:
    """The program's inputs are named after it; names of the user's that Python does not allow are only like theirs here."""
    names = ["self"]
    for name in interface.inputs:
        plain = "".join(c if c.isalnum() else "_" for c in name)
        plain = plain if plain.isidentifier() and not keyword.iskeyword(plain) else f"input_{plain}"
        while plain in names:
            plain += "_1"
        names.append(plain)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind) for name in names])


def results(interface: Interface, answer: Any) -> tuple[torch.Tensor, ...]:
    """Lists the tensors that forward returned.

    Raises:
        TaskError: It returned another structure than to the example inputs.
    """
    found = _Names("result")
    if found.walk(answer, "output", "") != interface.result:
        raise TaskError(
            "the model's forward returned another structure than for example_inputs: an artifact has the same outputs each time. "
            f"{PICK}"
        )
    return tuple(found.leaves)


# ------------------------------------------------------------------------------------------------ the flat task


def flat_task(task: Task, interface: Interface | None) -> Task:
    """Returns the task as the flat program needs it; the same task where its model is plain."""
    if interface is None or isinstance(task, FlatTask):
        return task
    by_name = isinstance(task.example_inputs, Mapping)
    args, kwargs = ((), task.example_inputs) if by_name else (task.example_inputs, {})
    leaves = structure.flatten(interface, structure.bound(interface, args, kwargs, "example_inputs"), "example_inputs")
    return FlatTask(
        name=task.name,
        model=task.model,
        example_inputs=tuple(example_tensor(torch.as_tensor(x), "example_inputs") for x in leaves),
        metric=lambda predict: task.metric(structure.structured(interface, predict)),
        calibration=None if task.calibration is None else _Calibration(task.calibration, interface),
        training=_training(task.training, interface),
        preprocessing=task.preprocessing,
        interface=interface,
    )


class _Calibration:
    """The user's batches as tuples of tensors; where samples are not first, one sample each, as the program takes it."""

    def __init__(self, batches: Iterable[Any], interface: Interface) -> None:
        self._batches, self._interface = batches, interface

    def __iter__(self) -> Iterator[Any]:
        interface = self._interface
        for number, batch in enumerate(self._batches):
            leaves = leaves_of(interface, batch, f"calibration batch {number}")
            if all(axis == 0 for axis in interface.input_axes):
                yield tuple(leaves)
                continue
            parts = structure.rows(interface, leaves, f"calibration batch {number}")
            for i in range(len(parts[0])):
                pairs = zip(parts, interface.input_axes, strict=True)
                yield tuple(np.asarray(structure.to_model(a[i : i + 1], axis)) for a, axis in pairs)


def leaves_of(interface: Interface, batch: Any, who: str) -> list[Any]:
    """Lists the tensors of a batch that is given as predict is called: by position, or as a dict of names."""
    args = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    return structure.flatten(interface, structure.bound(interface, args, {}, who), who)


def _training(training: Training | None, interface: Interface) -> Training | None:
    if training is None or any(axis != 0 for axis in (*interface.input_axes, *interface.output_axes)):
        return None
    unlabelled = None if training.unlabelled is None else _Calibration(training.unlabelled, interface)
    return Training(
        batches=_Pairs(training.batches, interface), loss=_Loss(training.loss, interface), unlabelled=unlabelled
    )


class _Pairs:
    """The user's (inputs, labels), inputs as a tuple of tensors."""

    def __init__(self, batches: Iterable[Any], interface: Interface) -> None:
        self._batches, self._interface = batches, interface

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self._batches):
            if isinstance(batch, tuple | list) and len(batch) == 2:
                batch = tuple(leaves_of(self._interface, batch[0], f"training batch {number}")), batch[1]
            yield batch


class _Loss:
    """The user's loss of what the flat program returns."""

    def __init__(self, loss: Callable[[Any, Any], Any], interface: Interface) -> None:
        self._loss, self._interface = loss, interface

    def __call__(self, outputs: Any, labels: Any) -> Any:
        leaves = outputs if isinstance(outputs, tuple | list) else (outputs,)
        return self._loss(structure.unflatten(self._interface.result, leaves), labels)
