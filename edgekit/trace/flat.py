"""One flat program of whatever structure the user has: its forward takes tensors one by one and returns a tuple of them.

The module itself, its layers and its weights stay what they are; only its class is another one. The task beside it has its
calibration, training and metric turned the same way, so that nothing behind the door knows of the structure.
"""

import copy
import dataclasses
import inspect
import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from edgekit.arrays import to_model
from edgekit.errors import TaskError
from edgekit.records import Interface
from edgekit.task import Task, Training
from edgekit.trace import structure
from edgekit.trace.leaves import PICK, Leaves, example_tensor
from edgekit.trace.sources import torch_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlatTask(Task):
    """A task whose example inputs, calibration, training and metric are those of the flat program."""

    interface: Interface
    example_inputs: tuple[torch.Tensor, ...]

    def __post_init__(self) -> None:
        """Checks nothing: the user's task was checked."""


def call_of(interface: Interface, leaves: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments, by position and by name, that the user's forward takes for these tensors."""
    given = structure.unflatten(interface.arguments, leaves)
    if interface.keywords:
        return [], given
    more = given.pop(interface.variadic, ()) if interface.variadic else ()
    return [*given.values(), *more], {}


# ------------------------------------------------------------------------------------------------ the flat program


def flattened(model: torch.nn.Module, interface: Interface) -> torch.nn.Module:
    """Returns the same module, its layers and weights shared, that takes tensors one by one and returns a tuple of them."""
    fixed = isinstance(model, torch.jit.ScriptModule) or "forward" in vars(model)
    made = _Around(model) if fixed else copy.copy(model)
    kind = type(made)

    def forward(self: Any, *leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        args, kwargs = call_of(interface, leaves)
        return results(interface, kind.forward(self, *args, **kwargs))

    forward.__signature__ = _signature(interface)  # type: ignore[attr-defined]
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "forward": forward}
    made.__class__ = type(kind.__name__, (kind,), names)
    return made


class _Around(torch.nn.Module):
    """Stands for a module whose forward cannot be replaced."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        setattr(self, torch_file.ONE_SAMPLE, getattr(model, torch_file.ONE_SAMPLE, False))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)


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
    found = Leaves("result")
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
    given, who = task.example_inputs, "example_inputs"
    args, kwargs = ((), given) if isinstance(given, Mapping) else (given, dict[str, Any]())
    named = structure.bound(interface, args, kwargs, who)
    leaves = structure.flatten(interface, named, who)
    fixed = [
        {axis: leaf.shape[axis] for axis in (task.dynamic or {}).get(name, {}) if axis != place}
        for name, leaf, place in zip(interface.inputs, leaves, interface.input_axes, strict=True)
    ]
    return FlatTask(
        name=task.name,
        model=task.model,
        example_inputs=tuple(example_tensor(torch.as_tensor(x), "example_inputs") for x in leaves),
        metric=lambda predict: task.metric(structure.structured(interface, predict)),
        calibration=None if task.calibration is None else _Calibration(task.calibration, interface, fixed),
        training=_training(task.training, interface),
        preprocessing=task.preprocessing,
        measures=task.measures,
        interface=interface,
    )


class _Calibration:
    """The user's batches as tuples of tensors; where samples are not first, one sample each, as the program takes it."""

    def __init__(
        self, batches: Iterable[Any], interface: Interface, fixed: Sequence[Mapping[int, int]] = ()
    ) -> None:
        self._batches, self._interface, self._fixed = batches, interface, fixed

    def __iter__(self) -> Iterator[Any]:
        interface = self._interface
        for number, batch in enumerate(self._batches):
            leaves = self._cut(leaves_of(interface, batch, f"calibration batch {number}"))
            if not leaves:
                continue
            if all(axis == 0 for axis in interface.input_axes):
                yield tuple(leaves)
                continue
            parts = structure.rows(interface, leaves, f"calibration batch {number}")
            for i in range(len(parts[0])):
                pairs = zip(parts, interface.input_axes, strict=True)
                yield tuple(np.asarray(to_model(a[i : i + 1], axis)) for a, axis in pairs)

    def _cut(self, leaves: list[Any]) -> list[Any]:
        """Cuts free axes to the lengths of the example, which the program is calibrated at; [] where a batch is shorter."""
        cut = []
        for leaf, fixed in zip(leaves, self._fixed or [{}] * len(leaves), strict=True):
            for axis, length in fixed.items():
                if leaf.shape[axis] < length:
                    return []
                leaf = leaf[(slice(None),) * axis + (slice(length),)]
            cut.append(leaf)
        return cut


def leaves_of(interface: Interface, batch: Any, who: str) -> list[Any]:
    """Lists the tensors of a batch that is given as predict is called: by position, or as a dict of names."""
    args = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    return structure.flatten(interface, structure.bound(interface, args, {}, who), who)


def _training(training: Training | None, interface: Interface) -> Training | None:
    if training is None or any(axis != 0 for axis in (*interface.input_axes, *interface.output_axes)):
        return None
    unlabelled = None if training.unlabelled is None else _Calibration(training.unlabelled, interface)
    return Training(
        batches=_Pairs(training.batches, interface),
        loss=_Loss(training.loss, interface),
        unlabelled=unlabelled,
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
