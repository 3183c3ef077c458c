"""Turns the operations of a program into steps that are ready to call.

Everything that does not depend on the inputs happens here, once: constants are read, compressed weights
expanded, arguments checked against what the operation takes, and the last use of every value found.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.errors import VerificationError
from edgekit.verify.mil.ops import supported
from edgekit.verify.mil.package import Literal, Operation, Package

Values = dict[str, Any]
Rounding = Callable[[Tensor], Tensor]
# an operation with an inner state rounds it with the function that it gets here
_ROUNDING_PARAMETER = "round_state"


@dataclass(frozen=True, slots=True)
class Step:
    """One call of an operation.

    Attributes:
        operation: The operation.
        call: `call(values)` gives one result for each output.
        inputs: `inputs(values)` gives the tensors that the call reads.
        dead: The names of values that are not read afterwards.
    """

    operation: Operation
    call: Callable[[Values], tuple[Any, ...]]
    inputs: Callable[[Values], list[Tensor]]
    dead: tuple[str, ...]


def rounded(value: Tensor) -> Tensor:
    """Rounds float32 to the nearest float16 value, held as float32; beyond 65504 + half a step it is infinite."""
    return value.half().float()


def unrounded(value: Tensor) -> Tensor:
    """Returns the value as it is, in the place of `rounded`."""
    return value


def to_tensor(value: Any) -> Any:
    """Turns an array into a tensor (any float as float32, uint16 and uint32 as int32); a str or a list stays as it is."""
    if not isinstance(value, np.ndarray):
        return value
    dtype: Any = value.dtype
    if dtype.kind == "f":
        dtype = np.float32
    elif dtype in (np.uint16, np.uint32):
        dtype = np.int32
    return torch.from_numpy(
        np.array(value, dtype, order="C")
    )  # np.ascontiguousarray would make rank 0 rank 1


def build_steps(package: Package, half: bool) -> tuple[list[Step], Values]:
    """Prepares the steps of a program.

    Args:
        package: The program.
        half: Whether float16 results are rounded.

    Returns:
        The steps, and the outputs that are constant.

    Raises:
        VerificationError: An operation, or an argument of one, cannot be executed.
    """
    functions = supported()
    _refuse_unknown(package, functions)
    constants: Values = {}
    bound: list[tuple[Operation, _Call]] = []
    for operation in package.operations:
        if operation.type == "const":
            constants[operation.name] = to_tensor(package.constant(operation.name))
            continue
        rounding = rounded if half and operation.outputs[0].dtype == "float16" else unrounded
        call = _bind(operation, functions[operation.type], constants, package, rounding)
        if operation.is_constant:
            _expand(operation, call, constants, half)
        else:
            bound.append((operation, call))
    last_use = {name: i for i, (operation, _) in enumerate(bound) for name in operation.names_read()}
    keep = {spec.name for spec in package.outputs}
    steps = [
        Step(operation, call, call.tensors, _dead_after(i, operation, last_use, keep, call))
        for i, (operation, call) in enumerate(bound)
    ]
    return steps, {name: constants[name] for name in keep if name in constants}


def _refuse_unknown(package: Package, functions: dict[str, Callable[..., Any]]) -> None:
    unknown = [op for op in package.operations if op.type != "const" and op.type not in functions]
    if unknown:
        others = sorted({op.type for op in unknown} - {unknown[0].type})
        raise VerificationError(
            f"{package.path.name}: operation {unknown[0].type!r}, "
            f"which makes {unknown[0].name!r}, is not supported"
            + (f"; neither are {', '.join(others)}" if others else "")
        )


def _expand(operation: Operation, call: _Call, constants: Values, half: bool) -> None:
    """Runs a constexpr operation and adds its results to the constants."""
    try:
        results = call({})
    except VerificationError:
        raise
    except Exception as error:
        raise VerificationError(f"{operation.type} {operation.name!r} is malformed: {error}") from error
    for spec, result in zip(operation.outputs, results, strict=True):
        if -1 not in spec.shape and tuple(result.shape) != spec.shape:
            raise VerificationError(
                f"{operation.type} {spec.name!r}: declared {list(spec.shape)}, computed {list(result.shape)}"
            )
        constants[spec.name] = rounded(result) if half and spec.dtype == "float16" else result


def _dead_after(
    index: int, operation: Operation, last_use: dict[str, int], keep: set[str], call: _Call
) -> tuple[str, ...]:
    """The names that are read here for the last time, and results that nothing reads."""
    read = {name for name in call.names if last_use[name] == index}
    unread = {spec.name for spec in operation.outputs if spec.name not in last_use}
    return tuple(sorted((read | unread) - keep))


class _Call:
    """A function with its constant arguments in place and the names of the others."""

    def __init__(self, operation: Operation, function: Callable[..., Any]) -> None:
        self.operation = operation
        self.function = function
        self.fixed: dict[str, Any] = {}
        self.single: dict[str, str] = {}  # parameter -> name of a value
        self.python: dict[str, str] = {}  # the same, but the function wants a plain Python value
        self.several: dict[str, list[Any]] = {}  # parameter -> names of values and tensors, mixed

    @property
    def names(self) -> set[str]:
        """The values that are read from the running program."""
        mixed = (item for items in self.several.values() for item in items if isinstance(item, str))
        return {*self.single.values(), *self.python.values(), *mixed}

    def __call__(self, values: Values) -> tuple[Any, ...]:
        arguments = dict(self.fixed)
        for parameter, name in self.single.items():
            arguments[parameter] = values[name]
        for parameter, name in self.python.items():
            arguments[parameter] = values[name].tolist()
        for parameter, items in self.several.items():
            arguments[parameter] = [values[item] if isinstance(item, str) else item for item in items]
        result = self.function(**arguments)
        return result if isinstance(result, tuple) else (result,)

    def tensors(self, values: Values) -> list[Tensor]:
        """The tensors that the call reads, constants included."""
        constants = [v for v in self.fixed.values() if isinstance(v, Tensor)]
        mixed = [item for items in self.several.values() for item in items if isinstance(item, Tensor)]
        return constants + mixed + [values[name] for name in self.names]


def _bind(
    operation: Operation,
    function: Callable[..., Any],
    constants: Values,
    package: Package,
    rounding: Rounding,
) -> _Call:
    hints = {name: hint for name, hint in typing.get_type_hints(function).items() if name != "return"}
    given: dict[str, tuple[str | Literal, ...]] = dict(operation.inputs)
    if operation.type.startswith("constexpr_"):  # iOS16 keeps the arguments of a constexpr in attributes
        given |= {name: (value,) for name, value in operation.attributes.items() if name != "name"}
    _check_arguments(operation, function, set(given))
    call = _Call(operation, function)
    for parameter, arguments in given.items():
        items = [
            to_tensor(package.read(a)) if isinstance(a, Literal) else constants.get(a, a) for a in arguments
        ]
        literal = [not isinstance(a, str) or a in constants for a in arguments]
        _place(call, parameter, hints[parameter], items, literal)
    if _ROUNDING_PARAMETER in hints:
        call.fixed[_ROUNDING_PARAMETER] = rounding
    return call


def _check_arguments(operation: Operation, function: Callable[..., Any], given: set[str]) -> None:
    """Every argument must be one that the function takes, and those without a default must be there."""
    parameters = inspect.signature(function).parameters
    taken = set(parameters) - {_ROUNDING_PARAMETER}
    for argument in sorted(given - taken):
        raise VerificationError(
            f"{operation.type} {operation.name!r}: argument {argument!r} is not supported"
        )
    for name in sorted(taken - given):
        if parameters[name].default is inspect.Parameter.empty:
            raise VerificationError(f"{operation.type} {operation.name!r}: argument {name!r} is missing")


def _place(call: _Call, parameter: str, hint: Any, items: list[Any], constant: list[bool]) -> None:
    """Sorts one argument into a call, by what the function takes and by whether its value is known now."""
    if hint == list[Tensor]:
        call.several[parameter] = items
        return
    if len(items) != 1:
        raise VerificationError(
            f"{call.operation.type} {call.operation.name!r}: {parameter!r} has {len(items)} values, not one"
        )
    wants_tensor = hint == Tensor or (isinstance(hint, types.UnionType) and Tensor in typing.get_args(hint))
    if not constant[0]:
        (call.single if wants_tensor else call.python)[parameter] = items[0]
    elif wants_tensor or not isinstance(items[0], Tensor):
        call.fixed[parameter] = items[0]
    else:
        call.fixed[parameter] = items[0].tolist()
