"""Intermediate tensors of an ONNX file in ONNX Runtime: every one of them becomes an output of the graph.

Value names are the names of the program's nodes, which torch.onnx keeps. With optimizations off, every operator runs
as it is written. With them on, only the integers behind a QuantizeLinear are asked for: they are the outputs of the
fused kernels anyway, so fusion, and with it saturation, stays as it is. An output in the middle of a fused group
would undo the fusion.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from edgekit.verify.blame.match import Run, Tensor
from edgekit.verify.blame.units import Grid
from edgekit.verify.graphs._onnx_source import at_example
from edgekit.verify.predict import usable_cpus


def tensors(path: str) -> list[Tensor]:
    """Lists everything that operators make from the inputs, in order."""
    model = onnx.shape_inference.infer_shapes(at_example(path), data_prop=True)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    shapes = {v.name: _shape(v) for v in (*model.graph.value_info, *model.graph.output)}
    live = {v.name for v in model.graph.input}
    found = []
    for node in model.graph.node:
        if not live.intersection(node.input):
            continue
        live.update(node.output)
        found += [
            Tensor(name, node.op_type, shapes[name], tuple(node.input), _grid(node, constants), hint=name)
            for name in node.output
            if name in shapes
        ]
    return found


def open_values(path: str, names: list[str], fused: bool = False) -> Run:
    """Opens the file and returns a function that gives some tensors for one sample.

    Args:
        path: The ONNX file.
        names: The tensors.
        fused: Whether to run with the runtime's optimizations on.
    """
    model = onnx.shape_inference.infer_shapes(at_example(path), data_prop=True)
    known = {value.name: value for value in model.graph.value_info}
    there = {value.name for value in model.graph.output}
    model.graph.output.extend(known[name] for name in names if name not in there)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = usable_cpus(), 1
    options.log_severity_level = 4
    if not fused:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim)


def _grid(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> Grid | None:
    """(scale, zero point) of what a QuantizeLinear makes; None where each channel has its own."""
    if node.op_type != "QuantizeLinear" or node.input[1] not in constants:
        return None
    scale = constants[node.input[1]]
    zero = constants.get(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)
    if scale.size != 1 or zero is None:
        return None
    return float(scale.item()), int(zero.item())
