"""What a Core ML program computes, read from its package: operations by the type of their result.

A layer that reads a dequantized tensor and a weight stored as int8 is one of integers: the program has no other way to say so, and
chips that multiply int8 (A17 Pro, M4 and later) fuse the conversions into it. Others compute it in float16. Source: coremltools,
"Quantization overview".
"""

from collections.abc import Callable
from math import prod

import numpy as np

from edgekit.verify.mil.interpreter import Interpreter
from edgekit.verify.mil.package import Operation, Package
from edgekit.verify.work import ExecutedGraph, Operator, bytes_by_dtype, product

Shape = tuple[int, ...]
_INTEGER_WEIGHTS = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale")
_ITEM_BYTES = {"float32": 4, "int32": 4, "float16": 2, "int16": 2, "uint16": 2}


def read(path: str) -> ExecutedGraph:
    """Reads the executed graph of a package.

    Constants are left out; what depends on constants alone (constexpr_*) is a stored weight.
    """
    package = Package(path)
    shapes = _shapes(package)
    makers = {spec.name: op for op in package.operations for spec in op.outputs}
    integers = {op.name: weight for op in package.operations if (weight := _integer_weight(op, makers))}
    operators = tuple(
        Operator(
            op.type,
            "int8" if op.name in integers else op.outputs[0].dtype if op.outputs else "",
            _macs(op, shapes),
        )
        for op in package.operations
        if op.type != "const"
    )
    held = set(integers.values())
    constants = (
        ("int8" if s.name in held else s.dtype, s.shape)
        for op in package.operations
        if op.is_constant
        for s in op.outputs
    )
    sized = ((dtype, shape, prod(shape) * _ITEM_BYTES.get(dtype, 1)) for dtype, shape in constants)
    return ExecutedGraph(operators, bytes_by_dtype(sized))


def _shapes(package: Package) -> dict[str, Shape]:
    """The shapes of all values; where axes are flexible, those that a run at the lengths of the example has."""
    shapes = {spec.name: spec.shape for spec in package.inputs}
    shapes |= {spec.name: spec.shape for op in package.operations for spec in op.outputs}
    if not any(-1 in spec.shape for spec in package.inputs):
        return shapes
    given = {spec.name: package.examples[spec.name] for spec in package.inputs}
    feeds = {
        spec.name: np.zeros(given[spec.name], "float32" if spec.dtype.startswith("float") else spec.dtype)
        for spec in package.inputs
    }
    run: dict[str, Shape] = {}
    Interpreter(package, hook=lambda result: run.update({result.spec.name: tuple(result.exact.shape)})).run(
        feeds
    )
    return shapes | given | run


def _integer_weight(op: Operation, makers: dict[str, Operation]) -> str:
    """Returns the weight of a layer of integers, by name; "" for any other operation."""
    x, weight = (makers.get(_name(op, argument)) for argument in ("x", "weight"))
    if x is None or weight is None or x.type != "dequantize" or weight.type not in _INTEGER_WEIGHTS:
        return ""
    return weight.name


def _name(op: Operation, argument: str) -> str:
    found = op.inputs.get(argument, ())
    return found[0] if found and isinstance(found[0], str) else ""


def _macs(op: Operation, shapes: dict[str, Shape]) -> int:
    counter = _MACS.get(op.type)
    if counter is None or not op.outputs:
        return 0

    def of(name: str) -> Shape:
        return shapes.get(_name(op, name), ())

    return counter(of, shapes[op.outputs[0].name])


Of = Callable[[str], Shape]


def _convolution(of: Of, output: Shape) -> int:
    return prod(output) * prod(of("weight")[1:])


def _transposed(of: Of, output: Shape) -> int:
    return prod(of("x")) * prod(of("weight")[1:])


def _linear(of: Of, output: Shape) -> int:
    return prod(output) * of("x")[-1]


def _matmul(of: Of, output: Shape) -> int:
    return product(of("x"), output)


def _recurrent(of: Of, output: Shape) -> int:
    """Counts each weight matrix once per step; `x` is [T, N, I]."""
    names = ("weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back")
    return prod(of("x")[:-1]) * sum(prod(shape) for name in names if (shape := of(name)))


def _attention(of: Of, output: Shape) -> int:
    query, key, value = of("query"), of("key"), of("value")
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


_MACS: dict[str, Callable[[Of, Shape], int]] = {
    "conv": _convolution,
    "conv_transpose": _transposed,
    "linear": _linear,
    "matmul": _matmul,
    **dict.fromkeys(("lstm", "gru", "rnn"), _recurrent),
    "scaled_dot_product_attention": _attention,
}
