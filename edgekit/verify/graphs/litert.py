"""What LiteRT executes of a TFLite file, read without a delegate, so that every operator shows."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgekit.verify.lint import HYBRID
from edgekit.verify.work import ExecutedGraph, Operator, bytes_by_dtype, product

#: the index of the operand that is computed on, where it is not the first
_DATA = {"TRANSPOSE_CONV": 2, "SPLIT": 1}
_WEIGHT = {"TRANSPOSE_CONV": 1}
Shape = tuple[int, ...]


def read(path: str) -> ExecutedGraph:
    """Reads the operators of a file.

    Each has the dtype of the tensor that it computes on and of its result; a layer that reads float and multiplies by int8
    is "hybrid".
    """
    interpreter = Interpreter(
        path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    details = {int(d["index"]): d for d in interpreter.get_tensor_details()}
    calls = interpreter._get_ops_details()
    made = {int(i) for call in calls for i in call["outputs"]}
    given = {int(d["index"]) for d in interpreter.get_input_details()}
    stored = {int(i) for call in calls for i in call["inputs"] if int(i) >= 0} - made - given
    return ExecutedGraph(
        tuple(_operator(call, details, stored) for call in calls),
        bytes_by_dtype(_constant(details[i]) for i in sorted(stored)),
    )


def _constant(detail: Mapping[str, Any]) -> tuple[str, Shape, int]:
    dtype, shape = np.dtype(detail["dtype"]), _shape(detail)
    return dtype.name, shape, prod(shape) * dtype.itemsize


def _operator(call: Mapping[str, Any], details: Mapping[int, Any], stored: set[int]) -> Operator:
    kind, places = str(call["op_name"]), [int(i) for i in call["inputs"]]
    inputs = [i for i in places if i >= 0]
    output = details[int(call["outputs"][0])] if len(call["outputs"]) else None
    data = places[_DATA.get(kind, 0)] if len(places) > _DATA.get(kind, 0) else -1
    read = _dtype(details[data]) if data >= 0 else "none"
    counter = _MACS.get(kind)
    macs = counter([_shape(details[i]) for i in inputs], _shape(output)) if counter and output else 0
    if macs and _is_hybrid(kind, read, places, details, stored):
        return Operator(kind, HYBRID, macs)
    return Operator(kind, f"{read}->{_dtype(output) if output else 'none'}", macs)


def _is_hybrid(
    kind: str, read: str, places: Sequence[int], details: Mapping[int, Any], stored: set[int]
) -> bool:
    """Whether the operator reads float, rounds it itself and multiplies by stored int8."""
    weight = places[_WEIGHT.get(kind, 1)] if len(places) > 1 else -1
    return read == "float32" and weight in stored and _dtype(details[weight]) == "int8"


def _dtype(detail: Mapping[str, Any]) -> str:
    return np.dtype(detail["dtype"]).name


def _shape(detail: Mapping[str, Any]) -> Shape:
    return tuple(int(n) for n in detail["shape"])


def _convolution(inputs: Sequence[Shape], output: Shape) -> int:
    return prod(output) * prod(inputs[1][1:])  # the weight is [O, ..., I / groups]


def _depthwise(inputs: Sequence[Shape], output: Shape) -> int:
    return prod(output) * prod(inputs[1][1:3])  # [1, H, W, C]


def _convolution_3d(inputs: Sequence[Shape], output: Shape) -> int:
    return prod(output) * prod(inputs[1][:-1])  # [D, H, W, I, O]


def _transposed(inputs: Sequence[Shape], output: Shape) -> int:
    return prod(inputs[2]) * prod(inputs[1][:-1])  # each input element meets [O, H, W] weights


def _linear(inputs: Sequence[Shape], output: Shape) -> int:
    return prod(output) * inputs[1][-1]


def _batch_product(inputs: Sequence[Shape], output: Shape) -> int:
    return product(inputs[0], output)


def _recurrent(inputs: Sequence[Shape], output: Shape) -> int:
    """Counts each weight matrix once for every step of every sample of the input [N, T, I]."""
    return prod(inputs[0][:-1]) * sum(prod(shape) for shape in inputs[1:9] if len(shape) == 2)


_MACS: dict[str, Callable[[Sequence[Shape], Shape], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "CONV_3D": _convolution_3d,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _linear,
    "BATCH_MATMUL": _batch_product,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
}
