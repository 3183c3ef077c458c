"""The tensors of a structure of the user's, with their names: `a.b` below a dict, `a_0` below a list."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from edgekit.errors import TaskError
from edgekit.records import Tree

DTYPES = (torch.float32, torch.uint8, torch.int8, torch.int32, torch.int64, torch.bool)
ALLOWED = "float16, float32, float64, int8, uint8, int32, int64 and bool"
PICK = "Wrap the model in a module that picks tensors"


class Leaves:
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
        items = tuple(
            self.walk(v, _key(k) if top else f"{name}.{k}", f"{where}[{k!r}]") for k, v in fields.items()
        )
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


def example_tensor(value: torch.Tensor, where: str) -> torch.Tensor:
    """Returns an example as the artifact takes it, floats in float32.

    Raises:
        TaskError: It is of a type that no artifact takes.
    """
    tensor = value.float() if value.is_floating_point() else value
    if tensor.dtype not in DTYPES:
        raise TaskError(f"{where} is {value.dtype}; allowed are {ALLOWED}")
    return tensor
