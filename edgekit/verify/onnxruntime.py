"""ONNX files in ONNX Runtime: what its own optimizer leaves to run, and whether 8-bit products saturate.

The lint reads the graph after ONNX Runtime optimized it for this CPU (`optimized_model_filepath`): QLinearConv
is an int8 kernel, Conv a float one. Source: onnxruntime, "Quantize ONNX models", and its issues 5849, 14642.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from edgekit_runner.backends import onnxruntime as backend
from edgekit_runner.isa import int8_saturates

from edgekit.records import Artifact, Lint, Saturation, TensorSpec
from edgekit.verify.lint import build_lint
from edgekit.verify.parity import Comparison
from edgekit.verify.predict import Predictor, Session, usable_cpus

INT16_MAX = 32767
# Kernels that take float, round it to u8 themselves (or are given u8), multiply integers, and answer in float
INTEGER_INSIDE = ("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat")
STORED_WEIGHTS = {"MatMulInteger": (1,), "DynamicQuantizeMatMul": (1,), "DynamicQuantizeLSTM": (1, 2)}
BIG_WEIGHT = 256  # elements; smaller constants are biases and scales


def open_session(path: str, exact: bool = False) -> Session:
    """exact: graph optimizations off, so that Q/DQ pairs run in float and nothing can saturate."""
    return backend.open(path, threads=usable_cpus(), options={"optimize": not exact})


def lint(artifact: Artifact) -> Lint:
    """Op counts of the optimized graph, by the dtype each op computes in."""
    ops: Counter[str] = Counter()
    for op, dtype in _typed_ops(_optimized(artifact.path)):
        ops[f"{op}:{dtype}"] += 1
    findings = []
    if artifact.precision == "float16":
        share = _float16_share(artifact.path)
        if share < 0.95:
            findings.append(f"only {share:.0%} of the weight bytes are float16")
    return build_lint(artifact, dict(ops), findings, stored_only=artifact.precision == "float16")


def _optimized(path: str) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        saved = str(Path(folder) / "optimized.onnx")
        options = ort.SessionOptions()
        options.optimized_model_filepath = saved
        options.log_severity_level = 4
        # up to EXTENDED: the hardware-specific layout pass above it is reported by no portable op name
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return onnx.load(saved)


def _typed_ops(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """(op type, dtype it computes in); moves and pools take the dtype of what they move."""
    types = {i.name: onnx.helper.tensor_dtype_to_np_dtype(i.data_type).name for i in model.graph.initializer}
    for value in model.graph.input:
        types[value.name] = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    for node in model.graph.node:
        dtype = _result_dtype(node, types)
        types.update(dict.fromkeys(node.output, dtype))
        yield node.op_type, "uint8" if node.op_type in INTEGER_INSIDE else dtype


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


def _float16_share(path: str) -> float:
    weights = [onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer]
    big = [w for w in weights if w.size >= BIG_WEIGHT and w.dtype.kind == "f"]
    total = sum(w.size for w in big)
    return sum(w.size for w in big if w.dtype == np.float16) / total if total else 1.0


def saturation(
    artifact: Artifact,
    inputs: list[np.ndarray],
    model_inputs: tuple[TensorSpec, ...],
    isa: str,
    host_isa: str,
) -> Saturation:
    """The same file fused and unfused on this machine, and a bound on the weights that holds on every machine.

    inputs: arrays [N, ...] in the torch model's layout. isa: the level that will serve; host_isa: this machine's.
    """
    holds = pair_bound(artifact.path) <= INT16_MAX
    comparison = Comparison()
    exact = Predictor(open_session(artifact.path, exact=True), artifact, model_inputs)
    fused = Predictor(open_session(artifact.path), artifact, model_inputs)
    comparison.add(exact.run(inputs), fused.run(inputs))
    parity = comparison.parity()
    harmful = not holds and int8_saturates(isa)
    return Saturation(
        bound_holds=holds,
        agreement=parity.agreement,
        max_abs_error=parity.max_abs_error,
        samples=parity.samples,
        conclusion=_conclusion(holds, isa, host_isa, parity.agreement, parity.samples),
        harmful=harmful,
    )


def _conclusion(holds: bool, isa: str, host_isa: str, agreement: float | None, samples: int) -> str:
    runs = (
        "not ranked"
        if agreement is None
        else f"agree on {agreement:.1%} of {samples} samples on this {host_isa} machine"
    )
    if holds:
        return f"cannot saturate: the weights keep every pair of products within 16 bits; fused and unfused runs {runs}"
    if int8_saturates(isa):
        return f"can saturate on {isa}: pairs of products exceed 16 bits; fused and unfused runs {runs}"
    return f"full-range weights, right on {isa} (32-bit sums); fused and unfused runs {runs}"


def pair_bound(path: str) -> int:
    """255 x the largest |w_i| + |w_j| of one output channel: what two u8 x s8 products can sum to at most."""
    graph = onnx.load(path).graph
    bound = 0
    for weight in _multiplied(graph):
        if weight.data_type != onnx.TensorProto.INT8 or len(weight.dims) < 2:
            continue
        rows = np.abs(onnx.numpy_helper.to_array(weight).astype(np.int64))
        for axis in (
            0,
            rows.ndim - 1,
        ):  # output channels are the first axis of Conv, the last of a transposed Gemm
            flat = np.sort(np.moveaxis(rows, axis, 0).reshape(rows.shape[axis], -1), axis=1)[:, -2:]
            bound = max(bound, 255 * int(flat.sum(1).max()))
    return bound


def _multiplied(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The stored tensors that integer kernels multiply by: behind a DequantizeLinear, or read by a dynamic operator.

    GRU and RNN have no integer kernel: theirs are widened and multiplied in float.
    """
    constants = {i.name: i for i in graph.initializer}
    widened = {name for node in graph.node if node.op_type in ("GRU", "RNN") for name in node.input}
    for node in graph.node:
        integers = node.op_type == "DequantizeLinear" and node.output[0] not in widened
        places = (0,) if integers else STORED_WEIGHTS.get(node.op_type, ())
        yield from (constants[node.input[i]] for i in places if node.input[i] in constants)
