"""ONNX files in ONNX Runtime: what its own optimizer leaves to run, and whether 8-bit products saturate.

What is executed is read by `edgekit.verify.graphs.onnxruntime`. Saturation: onnxruntime, issues 5849 and 14642.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from edgekit_runner.backends import onnxruntime as backend
from edgekit_runner.host.isa import int8_saturates

from edgekit.records import Artifact, Lint, Saturation, TensorSpec
from edgekit.verify.graphs.onnxruntime import read
from edgekit.verify.lint import MIN_SHARE, build_lint
from edgekit.verify.parity import Comparison
from edgekit.verify.predict import Predictor, Session, usable_cpus

INT16_MAX = 32767
STORED_WEIGHTS = {"MatMulInteger": (1,), "DynamicQuantizeMatMul": (1,), "DynamicQuantizeLSTM": (1, 2)}


def open_session(path: str, exact: bool = False) -> Session:
    """Opens a file.

    Args:
        path: The ONNX file.
        exact: Whether to switch graph optimizations off, so that Q/DQ pairs run in float and nothing can saturate.
    """
    return backend.open(path, threads=usable_cpus(), options={"optimize": not exact})


def lint(artifact: Artifact, min_share: float = MIN_SHARE) -> Lint:
    """Judges the graph as optimized for this CPU, by the dtype that each operator computes in."""
    stored_only = artifact.precision == "float16"
    return build_lint(artifact, read(artifact.path), min_share=min_share, stored_only=stored_only)


def saturation(
    artifact: Artifact,
    inputs: list[np.ndarray],
    model_inputs: tuple[TensorSpec, ...],
    isa: str,
    host_isa: str,
) -> Saturation:
    """Compares the file fused and unfused on this machine, and bounds the weights for every machine.

    Args:
        artifact: The int8 file.
        inputs: Arrays [N, ...] in the torch model's layout.
        model_inputs: The inputs of the torch model.
        isa: The level of the machine that will serve the file.
        host_isa: The level of this machine.
    """
    holds = pair_bound(artifact.path) <= INT16_MAX
    comparison = Comparison()
    exact = Predictor(open_session(artifact.path, exact=True), artifact, model_inputs)
    fused = Predictor(open_session(artifact.path), artifact, model_inputs)
    comparison.add(exact.run(inputs), fused.run(inputs))
    parity = comparison.parity()
    can_saturate = not holds and int8_saturates(isa)
    return Saturation(
        bound_holds=holds,
        agreement=parity.agreement,
        max_abs_error=parity.max_abs_error,
        samples=parity.samples,
        conclusion=_conclusion(holds, isa, host_isa, parity.agreement, parity.samples),
        can_saturate=can_saturate,
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
    """The largest sum of two u8 x s8 products: 255 x the largest |w_i| + |w_j| of one output channel."""
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

    GRU and RNN have no integer kernel: their weights are widened and multiplied in float, or they are written as loops.
    """
    constants = {i.name: i for i in graph.initializer}
    widened = {name for node in graph.node if node.op_type in ("GRU", "RNN") for name in node.input}
    loops = [
        a.g.node for node in graph.node if node.op_type == "Scan" for a in node.attribute if a.name == "body"
    ]
    for node in (*graph.node, *(inner for body in loops for inner in body)):
        integers = node.op_type == "DequantizeLinear" and node.output[0] not in widened
        places = (0,) if integers else STORED_WEIGHTS.get(node.op_type, ())
        yield from (constants[node.input[i]] for i in places if node.input[i] in constants)
