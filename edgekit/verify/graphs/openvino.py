"""What OpenVINO executes of an ONNX file: its own execution graph on this CPU (`CompiledModel.get_runtime_model`).

Every node of it names the precision that its kernel runs in. Free axes have the lengths of the file's example, because the
graph of a file with free axes has no shapes to count work by.
"""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import onnx
from edgekit_runner.backends import openvino as backend

from edgekit.errors import VerificationError
from edgekit.verify.graphs._onnx_source import Shape, at_example, constants
from edgekit.verify.work import ExecutedGraph, Operator, bytes_by_dtype, product

#: nodes of the execution graph that hold values and run nothing
_HELD = ("Input", "Output", "Const")
_DTYPES = {
    "f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "u8": "uint8", "i8": "int8",
    "i16": "int16", "i32": "int32", "i64": "int64",
}  # fmt: skip


def read(path: str) -> ExecutedGraph:
    """Reads the operators of the execution graph by the precision that each kernel runs in.

    Raises:
        VerificationError: OpenVINO does not take the file.
    """
    backend.load_runtime()
    import openvino

    model = at_example(path)
    try:
        core = openvino.Core()
        read_model = core.read_model(model.SerializeToString())
        executed = core.compile_model(read_model, "CPU", backend.settings(1, {})).get_runtime_model()
    except RuntimeError as error:
        raise VerificationError(
            f"OpenVINO does not take {path}: {str(error).strip().splitlines()[-1]}"
        ) from error
    return ExecutedGraph(tuple(_operators(executed)), bytes_by_dtype(constants(onnx.load(path))))


def _operators(executed: Any) -> Iterator[Operator]:
    for node in executed.get_ordered_ops():
        noted = node.get_rt_info()
        kind = noted["layerType"].astype(str)
        if kind in _HELD:
            continue
        precision = noted["runtimePrecision"].astype(str)
        inputs = [_shape(port) for port in node.inputs()]
        counter = _MACS.get(kind)
        macs = counter(inputs, _shape(node.output(0))) if counter and node.get_output_size() else 0
        yield Operator(kind, _DTYPES.get(precision, precision), macs)


def _shape(port: Any) -> Shape:
    shape = port.get_partial_shape()
    return tuple(int(n) for n in shape.to_shape()) if shape.is_static else ()


def _convolution(inputs: Sequence[Shape], output: Shape) -> int:
    grouped = len(inputs[1]) > len(output)  # [G, O / G, I / G, ...], else [O, I, ...]
    return prod(output) * prod(inputs[1][2 if grouped else 1 :])


def _transposed(inputs: Sequence[Shape], output: Shape) -> int:
    grouped = len(inputs[1]) > len(output)  # [G, I / G, O / G, ...], else [I, O, ...]
    return prod(inputs[0]) * prod(inputs[1][2 if grouped else 1 :])


def _product(inputs: Sequence[Shape], output: Shape) -> int:
    return product(inputs[0], output)


def _recurrent(inputs: Sequence[Shape], output: Shape) -> int:
    """The input is [N, T, I]; weights are [directions, gates * H, I] and [directions, gates * H, H]."""
    weights = [shape for shape in inputs if len(shape) == 3 and shape[-2] != inputs[0][-2]]
    return prod(inputs[0][:-1]) * sum(prod(shape) for shape in weights[-2:])


_MACS: dict[str, Callable[[Sequence[Shape], Shape], int]] = {
    "Convolution": _convolution,
    "Deconvolution": _transposed,
    **dict.fromkeys(("FullyConnected", "MatMul"), _product),
    "RNNSeq": _recurrent,
}
