"""What ONNX Runtime executes of a file: its own graph, as optimized for this CPU (`optimized_model_filepath`).

QLinearConv is an integer kernel there, Conv a float one. Shapes are those of the file as written: fused kernels keep the
names of the values that they make. Source: onnxruntime, "Quantize ONNX models", and its issues 5849, 14642.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

import onnx
import onnxruntime as ort

from edgekit.verify.graphs._onnx_source import Shape, at, constants, lengths_of
from edgekit.verify.work import ExecutedGraph, Operator, bytes_by_dtype, product

# Kernels that take float, round it to u8 themselves (or are given u8), multiply integers, and answer in float
INTEGER_INSIDE = ("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat")


def read(path: str) -> ExecutedGraph:
    """Reads the operators of the optimized graph by the dtype each computes in; moves and pools have that of their input."""
    with tempfile.TemporaryDirectory() as folder:
        saved = str(Path(folder) / "optimized.onnx")
        _optimize(path, saved)
        return read_saved(path, saved)


def read_saved(path: str, optimized: str) -> ExecutedGraph:
    """Reads the operators of a graph that ONNX Runtime has written of a file, after its own optimizer."""
    original, model = onnx.load(path), onnx.load(optimized)
    lengths = lengths_of(original)
    shapes = {**_shapes(original, lengths), **_shapes(model, lengths)}
    operators = [
        Operator(node.op_type, dtype, _macs(node, shapes))
        for node, dtype in _typed(model)
        if node.op_type != "Scan"
    ]
    for node in model.graph.node:
        operators += _steps(node, shapes) if node.op_type == "Scan" else []
    return ExecutedGraph(tuple(operators), bytes_by_dtype(constants(original)))


def _steps(scan: onnx.NodeProto, shapes: Mapping[str, Shape]) -> list[Operator]:
    """The operators of a loop over steps, each once, with the work of all steps; its weights are stored outside of it."""
    body = next(a.g for a in scan.attribute if a.name == "body")
    series = next(a.i for a in scan.attribute if a.name == "num_scan_inputs")
    given = [shapes.get(name, ()) for name in scan.input]
    steps = given[-1][0] if given[-1] else 0
    inner = [*given[:-series], *(shape[1:] for shape in given[-series:])]
    known = {**shapes, **{value.name: shape for value, shape in zip(body.input, inner, strict=True)}}
    found = []
    for node, dtype in _typed_nodes(body.node, {value.name: "float32" for value in body.input}):
        left = known.get(node.input[0], ())
        if node.op_type in _KEEPS_SHAPE:
            known[node.output[0]] = left
        multiplies = node.op_type in _PRODUCTS and bool(left)
        macs = steps * prod(left) * known[node.input[1]][-1] if multiplies else 0
        found.append(Operator(node.op_type, dtype, macs))
    return found


def _optimize(path: str, saved: str) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = saved
    options.log_severity_level = 4
    # up to EXTENDED: the layout pass above it depends on the hardware, and its operators have no portable names
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _shapes(model: onnx.ModelProto, lengths: Mapping[str, int]) -> dict[str, Shape]:
    """The shapes that inference finds; it ends at ONNX Runtime's own operators, so both graphs are asked."""
    if lengths:
        model = at(model, lengths)
    graph = onnx.shape_inference.infer_shapes(model, data_prop=bool(lengths)).graph
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            found[value.name] = tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim)
    return found


def _typed(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, str]]:
    types = {i.name: onnx.helper.tensor_dtype_to_np_dtype(i.data_type).name for i in model.graph.initializer}
    for value in model.graph.input:
        types[value.name] = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    yield from _typed_nodes(model.graph.node, types)


def _typed_nodes(
    nodes: Sequence[onnx.NodeProto], types: dict[str, str]
) -> Iterator[tuple[onnx.NodeProto, str]]:
    for node in nodes:
        dtype = _result_dtype(node, types)
        types.update(dict.fromkeys(node.output, dtype))
        yield node, "uint8" if node.op_type in INTEGER_INSIDE or _is_integer_gemm(node) else dtype


def _is_integer_gemm(node: onnx.NodeProto) -> bool:
    """QGemm and MatMulInteger multiply integers, whatever they answer in."""
    return node.op_type in ("QGemm", "MatMulInteger", "ConvInteger")


def _result_dtype(node: onnx.NodeProto, types: dict[str, str]) -> str:
    if node.op_type == "QuantizeLinear":
        return types.get(node.input[2], "uint8") if len(node.input) > 2 else "uint8"
    if node.op_type == "Where":  # its first input is the condition
        return types.get(node.input[1], "float32")
    if node.op_type == "DynamicQuantizeLinear":
        return "uint8"
    if node.op_type == "DequantizeLinear" or node.op_type in INTEGER_INSIDE:
        return "float32"
    if node.op_type == "Cast":
        to = next(a.i for a in node.attribute if a.name == "to")
        return onnx.helper.tensor_dtype_to_np_dtype(to).name
    if node.op_type.startswith("QLinear") or node.op_type == "QGemm":
        return "uint8" if _has_integer_output(node) else "float32"
    return types.get(node.input[0], "float32") if node.input else "float32"


def _has_integer_output(node: onnx.NodeProto) -> bool:
    """QGemm without an output scale (its last two inputs) answers in float32."""
    return node.op_type != "QGemm" or len(node.input) >= 8


def _macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    counter = _MACS.get(node.op_type)
    if counter is None:
        return 0
    return counter([shapes.get(name, ()) for name in node.input], shapes.get(node.output[0], ()), node)


Inputs = Sequence[Shape]


def _convolution(inputs: Inputs, output: Shape, node: onnx.NodeProto) -> int:
    weight = inputs[3 if node.op_type == "QLinearConv" else 1]
    return prod(output) * prod(weight[1:]) if output else 0


def _transposed(inputs: Inputs, output: Shape, node: onnx.NodeProto) -> int:
    return prod(inputs[0]) * prod(inputs[1][1:]) if inputs[0] else 0


def _product(inputs: Inputs, output: Shape, node: onnx.NodeProto) -> int:
    """Counts by the result or, where inference ended at a kernel of ONNX Runtime's own (QGemm), by the operands."""
    left, right = inputs[0], inputs[3 if node.op_type in ("QGemm", "QLinearMatMul") else 1]
    if left and output:
        return product(left, output)
    if not left or len(right) < 2:
        return 0
    turned = any(a.name == "transB" and a.i for a in node.attribute)
    batches = max(prod(left[:-2]), prod(right[:-2]))
    return batches * prod(left[-2:]) * right[-2 if turned else -1]


def _recurrent(inputs: Inputs, output: Shape, node: onnx.NodeProto) -> int:
    """The multiply-accumulates of a cell: the input is [T, N, I], and each weight tensor holds both directions."""
    return prod(inputs[0][:-1]) * (prod(inputs[1][-2:]) + prod(inputs[2][-2:])) * (inputs[1][:1] or (1,))[0]


def _attention(inputs: Inputs, output: Shape, node: onnx.NodeProto) -> int:
    """Attention on [N, L, H] with one weight [H, 3 H] for all three projections, and the two products of activations."""
    batch, length, width = inputs[0]
    return batch * length * (prod(inputs[1]) + 2 * length * width)


def _einsum(inputs: Inputs, output: Shape, node: onnx.NodeProto) -> int:
    """The product of the sizes of all indices in the equation."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    sizes: dict[str, int] = {}
    for indices, shape in zip(equation.split("->")[0].split(","), inputs, strict=False):
        sizes |= dict(zip(indices, shape, strict=False))
    return prod(sizes.values())


_PRODUCTS = ("MatMul", "FusedMatMul", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")
_KEEPS_SHAPE = ("DynamicQuantizeLinear", "Identity")
_MACS: dict[str, Callable[[Inputs, Shape, onnx.NodeProto], int]] = {
    **dict.fromkeys(("Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger"), _convolution),
    "ConvTranspose": _transposed,
    **dict.fromkeys(
        ("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "QLinearMatMul", "MatMulInteger"), _product
    ),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), _product),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    **dict.fromkeys(("Attention", "QAttention"), _attention),
    "Einsum": _einsum,
}
