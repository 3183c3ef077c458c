"""Executes an ML Program on any system, one operation after the other, with torch.

A float16 tensor is held as a float32 tensor whose values lie on the float16 grid: every result is rounded,
sums are float32. This is an ideal float16 machine, not a device. It proves the file; it does not predict
the last bits of a Neural Engine, which sums and approximates in its own way.

Speed follows torch.set_num_threads. Where the machine is shared, OpenMP threads that spin at a barrier cost more
than they give: use one thread, or start the process with OMP_WAIT_POLICY=PASSIVE.

How to read a difference to the float model:
  a float32 package, precision "float32"   is the graph right? (1e-4 relative)
  a float16 package, precision "float32"   what did rounding the weights cost?
  a float16 package, precision "float16"   what did rounding the activations add?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from edgekit.errors import UserError, VerificationError
from edgekit.verify.mil.bindings import Step, Values, build_steps, rounded
from edgekit.verify.mil.ops import shape as shape_ops
from edgekit.verify.mil.package import Operation, Package, TensorSpec

_NO_ROUNDING = frozenset(shape_ops.OPS)  # they move values that are on the grid already
_INPUT_DTYPES = frozenset({"float16", "float32", "int8", "int16", "int32", "uint8", "bool"})


@dataclass(frozen=True, slots=True)
class Result:
    """What a hook sees of one floating output.

    Attributes:
        operation: The operation.
        spec: The output as the program declares it.
        exact: Its value before rounding.
        stored: Its value after rounding.
        inputs: The tensors that the operation read.
    """

    operation: Operation
    spec: TensorSpec
    exact: Tensor
    stored: Tensor
    inputs: list[Tensor]


Hook = Callable[[Result], None]


class Interpreter:
    """Runs a package.

    Args:
        package: The program.
        precision: "float16" rounds every result that the program types float16; "float32" rounds nothing.
        hook: Called with the Result of every floating output, in execution order.

    Raises:
        VerificationError: From the constructor, for an operation or an argument that is not supported; from `run`, for
            an option that is not supported, for an operation that fails, and for a result whose shape or kind is not
            the declared one.
    """

    def __init__(
        self,
        package: Package,
        precision: Literal["float16", "float32"] = "float16",
        hook: Hook | None = None,
    ) -> None:
        if precision not in ("float16", "float32"):
            raise UserError(f"precision {precision!r} is not one of float16, float32")
        for spec in package.inputs:
            if spec.dtype not in _INPUT_DTYPES:
                raise VerificationError(f"input {spec.name!r} is {spec.dtype}, which is not supported")
        self.package = package
        self.precision = precision
        self.hook = hook
        self._half = precision == "float16"
        self._steps, self._fixed = build_steps(package, self._half)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the program once.

        Args:
            feeds: Input name -> array of the declared shape.

        Returns:
            Output name -> array; floats are float32.

        Raises:
            UserError: An input is missing, unknown, or of the wrong shape or kind.
        """
        with torch.inference_mode():
            values: Values = dict(self._fixed) | self._feed(feeds)
            for step in self._steps:
                self._run_step(step, values)
        return {spec.name: values[spec.name].numpy().copy() for spec in self.package.outputs}

    def _feed(self, feeds: Mapping[str, np.ndarray]) -> Values:
        specs = {spec.name: spec for spec in self.package.inputs}
        wrong = sorted(set(feeds) ^ set(specs))
        if wrong:
            raise UserError(f"inputs {sorted(feeds)} were given, the program takes {sorted(specs)}")
        return {name: self._input(spec, np.asarray(feeds[name])) for name, spec in specs.items()}

    def _input(self, spec: TensorSpec, array: np.ndarray) -> Tensor:
        if not _fits(array.shape, spec.shape):
            raise UserError(f"input {spec.name!r} has shape {list(array.shape)}, expected {list(spec.shape)}")
        dtype: Any = np.float32 if spec.dtype.startswith("float") else np.dtype(spec.dtype)
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise UserError(f"input {spec.name!r} is {array.dtype}, expected {spec.dtype}")
        tensor = torch.from_numpy(np.array(array, dtype, order="C"))
        return rounded(tensor) if self._half and spec.dtype == "float16" else tensor

    def _run_step(self, step: Step, values: Values) -> None:
        operation = step.operation
        try:
            results = step.call(values)
        except Exception as error:
            raise VerificationError(f"{operation.type} {operation.name!r}: {error}") from error
        if len(results) < len(operation.outputs):
            raise VerificationError(f"{operation.type} {operation.name!r} declares too many outputs")
        for spec, exact in zip(operation.outputs, results, strict=False):
            _check(operation, spec, exact)
            stored = exact
            if self._half and spec.dtype == "float16" and operation.type not in _NO_ROUNDING:
                stored = rounded(exact)
            if self.hook is not None and exact.is_floating_point():
                self.hook(Result(operation, spec, exact, stored, step.inputs(values)))
            values[spec.name] = stored
        for name in step.dead:
            del values[name]


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    if shape == declared:
        return True
    return len(shape) == len(declared) and all(d in (-1, s) for s, d in zip(shape, declared, strict=True))


def _check(operation: Operation, spec: TensorSpec, result: Tensor) -> None:
    """Raises VerificationError unless a result is what the program declares."""
    if not _fits(tuple(result.shape), spec.shape):
        raise VerificationError(
            f"{operation.type} {spec.name!r}: declared {list(spec.shape)}, computed {list(result.shape)}"
        )
    if result.is_floating_point() != spec.dtype.startswith("float"):
        raise VerificationError(
            f"{operation.type} {spec.name!r}: declared {spec.dtype}, computed {result.dtype}"
        )
