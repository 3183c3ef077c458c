"""Between the structures of the user's code and the flat lists of arrays that everything here works on.

`predict` is called as forward is, and answers as forward does, in arrays: dicts stay dicts, a dataclass or a ModelOutput is
built again in its own class. Inside, one sample is one row of every array, whatever axis the model has its samples on: what the
model takes and gives is turned at the border, by `to_model` and `from_model`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.arrays import from_model, to_model
from edgekit.errors import TaskError
from edgekit.records import Interface, TensorSpec, Tree

NO_AXIS = (
    "has no axis of samples, so several samples cannot be answered together: call predict with one at a time, or say its axis in the "
    "task, batch_axes={{{name!r}: 1}}"
)


class Answer(dict[str, Any]):
    """The result of a model whose own class cannot be made of arrays: by key, by position or as an attribute."""

    def __getattr__(self, name: str) -> Any:
        """Returns the entry of this name."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the model's result has no {name!r}; it has {', '.join(self)}") from None

    def __getitem__(self, key: Any) -> Any:
        """Returns an entry by its name, or by its position among those that are not None."""
        return super().__getitem__(key) if isinstance(key, str) else list(self.values())[key]


# ------------------------------------------------------------------------------------------------ arguments


def bound(interface: Interface, args: Sequence[Any], kwargs: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Gives the arguments of a call their names; one dict of them will do, as data loaders yield it.

    Args:
        interface: The names that forward takes.
        args: Arguments by position.
        kwargs: Arguments by name.
        who: Who calls, for messages: "predict", "calibration batch 3".

    Raises:
        TaskError: An argument is missing, given twice or unknown.
    """
    names = [name for name in map(str, interface.arguments.keys) if name != interface.variadic]
    given, by_name = list(args), dict(kwargs)
    if len(given) == 1 and not by_name and isinstance(given[0], Mapping) and _no_dict_first(interface):
        given, by_name = [], dict(given[0])
    found, rest = dict(zip(names, given, strict=False)), given[len(names) :]
    if rest and not interface.variadic:
        raise TaskError(f"{who} holds {len(given)} inputs; the model takes {len(names)}: {', '.join(names)}")
    twice = [name for name in by_name if name in found]
    unknown = [name for name in by_name if name not in names]
    if twice or unknown:
        what = f"{twice[0]!r} twice" if twice else f"{unknown[0]!r}"
        raise TaskError(f"{who} gives {what}; the model takes {', '.join(names)}")
    found |= by_name
    if interface.variadic:
        found[interface.variadic] = tuple(rest)
    return found


def _no_dict_first(interface: Interface) -> bool:
    return not interface.arguments.items or interface.arguments.items[0].kind not in ("dict", "object")


def flatten(interface: Interface, given: Mapping[str, Any], who: str) -> list[Any]:
    """Lists the tensors among named arguments, in the order of the program.

    Raises:
        TaskError: They are not of the structure of the example inputs.
    """
    leaves: dict[int, Any] = {}
    for name, tree in zip(interface.arguments.keys, interface.arguments.items, strict=True):
        if name in given:
            _collect(tree, given[str(name)], f"{who}, input {name}", leaves)
        elif tree.kind not in ("none", "value"):
            raise TaskError(
                f"{who} gives no {name!r}; the model takes {', '.join(map(str, interface.arguments.keys))}"
            )
    return [leaves[i] for i in range(len(interface.inputs))]


def _collect(tree: Tree, value: Any, where: str, leaves: dict[int, Any]) -> None:
    if tree.kind == "tensor":
        leaves[tree.index] = value
    elif tree.kind in ("none", "value"):
        if value != tree.value:
            raise TaskError(
                f"{where} is {value!r}; the artifact has {tree.value!r} built in, as example_inputs say"
            )
    else:
        parts = _parts(tree, value, where)
        for key, item in zip(tree.keys or range(len(tree.items)), tree.items, strict=True):
            _collect(item, parts[key], f"{where}[{key!r}]", leaves)


def _parts(tree: Tree, value: Any, where: str) -> Any:
    named = tree.kind in ("dict", "object")
    if named and not isinstance(value, Mapping) and hasattr(value, "__dict__"):
        value = vars(value)
    fits = (
        isinstance(value, Mapping) and set(value) >= set(tree.keys)
        if named
        else isinstance(value, list | tuple)
    )
    if not fits or (not named and len(value) != len(tree.items)):
        wanted = (
            f"a dict of {', '.join(map(str, tree.keys))}" if named else f"a {tree.kind} of {len(tree.items)}"
        )
        raise TaskError(f"{where} is a {type(value).__name__}; the model takes {wanted}")
    return value


# ------------------------------------------------------------------------------------------------ samples


def rows(interface: Interface, leaves: Sequence[Any], who: str) -> list[np.ndarray]:
    """Puts the samples first in every array, [N, ...]; what has no samples is repeated for each.

    Raises:
        TaskError: The inputs have different numbers of samples.
    """
    arrays = [np.asarray(value.detach() if hasattr(value, "detach") else value) for value in leaves]
    pairs = list(zip(arrays, interface.input_axes, interface.inputs, strict=True))
    counts = {name: a.shape[axis] for a, axis, name in pairs if axis is not None and a.ndim > axis}
    if len(set(counts.values())) > 1:
        given = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise TaskError(f"{who} holds inputs of different numbers of samples: {given}")
    count = next(iter(counts.values()), 1)
    return [
        np.repeat(a[None], count, 0) if axis is None else np.moveaxis(a, axis, 0) if a.ndim > axis else a
        for a, axis, _ in pairs
    ]


def in_rows(
    call: Callable[..., list[np.ndarray]], input_axes: Sequence[int | None], output_axes: Sequence[int | None]
) -> Callable[..., list[np.ndarray]]:
    """Returns a function of samples in rows, for one that takes and returns arrays as the model does.

    Where an output has no axis of samples, each sample is asked alone.
    """

    def answer(*arrays: np.ndarray) -> list[np.ndarray]:
        given = [np.asarray(to_model(a, axis), order="C") for a, axis in zip(arrays, input_axes, strict=True)]
        return [from_model(a, axis) for a, axis in zip(call(*given), output_axes, strict=True)]

    alone = None in output_axes or all(axis is None for axis in input_axes)
    return one_by_one(answer) if alone else answer


def one_by_one(call: Callable[..., list[np.ndarray]]) -> Callable[..., list[np.ndarray]]:
    """Returns a function of samples in rows, for one that takes a single row."""

    def answer(*arrays: np.ndarray) -> list[np.ndarray]:
        parts = [call(*(a[i : i + 1] for a in arrays)) for i in range(len(arrays[0]))]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    return answer


def shapes(specs: Sequence[TensorSpec]) -> list[tuple[int, ...]]:
    """Returns the shapes of one sample in rows, [1, ...], of tensors as the model has them; -1 where a length is free."""
    return [
        _row_shape(tuple(-1 if str(i) in spec.free else n for i, n in enumerate(spec.shape)), spec.batch_axis)
        for spec in specs
    ]


def _row_shape(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    if axis is None:
        return (1, *shape)
    return (shape[axis], *shape[:axis], *shape[axis + 1 :])


# ------------------------------------------------------------------------------------------------ results


def rebuild(interface: Interface, outputs: Sequence[np.ndarray]) -> Any:
    """Makes what the model returns of its outputs in rows.

    Raises:
        TaskError: There are several samples, and an output has no axis for them.
    """
    arrays = []
    for array, axis, name in zip(outputs, interface.output_axes, interface.outputs, strict=True):
        if axis is None and len(array) != 1:
            raise TaskError(f"the output {name} {NO_AXIS.format(name=name)}")
        arrays.append(to_model(array, axis))
    return _made(interface.result, arrays)


def unflatten(tree: Tree, leaves: Sequence[Any]) -> Any:
    """Makes a structure of its leaves."""
    return _made(tree, leaves)


def _made(tree: Tree, leaves: Sequence[Any]) -> Any:
    if tree.kind == "tensor":
        return leaves[tree.index]
    if tree.kind in ("none", "value"):
        return tree.value
    items = [_made(item, leaves) for item in tree.items]
    if tree.kind in ("tuple", "list"):
        return tuple(items) if tree.kind == "tuple" else items
    named = dict(zip(tree.keys, items, strict=True))
    return named if tree.kind == "dict" else _object(tree.type, named)


def _object(place: str, fields: dict[Any, Any]) -> Any:
    """Makes an object of its own class, where that can be found and takes arrays."""
    module, _, name = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found(**fields)
    except Exception:  # whatever the user's class raises for arrays, or for being local to a function
        return Answer({key: value for key, value in fields.items() if value is not None})


def structured(interface: Interface | None, predict: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a predict function that is called, and answers, as the user's model is.

    Args:
        interface: The names and structures of the model; None where it takes and returns plain tensors.
        predict: Takes and returns arrays in rows.
    """
    if interface is None:
        return predict

    def call(*args: Any, **kwargs: Any) -> Any:
        leaves = flatten(interface, bound(interface, args, kwargs, "predict"), "predict")
        answered = predict(*rows(interface, leaves, "predict"))
        return rebuild(interface, answered if isinstance(answered, tuple) else (answered,))

    return call
