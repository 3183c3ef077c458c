"""Writes an ONNX file of the task's own ONNX graph: as it is, with weights in half precision, or quantized in place.

Integers: QuantizeLinear and DequantizeLinear around the operators that have integer kernels, by ONNX Runtime's quantizer, with the
ranges that `ptq` found (`edgekit.techniques._onnx_ranges`); recurrent cells stay float there. A dynamic candidate is rewritten as the
file of a torch program is (`_onnx_dynamic`).
"""

import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from edgekit_runner import __version__
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgekit.errors import ConversionError
from edgekit.export import _onnx_dynamic as dynamic
from edgekit.export import _onnx_passes as passes
from edgekit.export import _written
from edgekit.quant import onnx_graph
from edgekit.quant import program as programs
from edgekit.quant.free_axes import named
from edgekit.records import Artifact, Candidate, Interface, TensorSpec

if TYPE_CHECKING:
    from edgekit.target import Target

SUFFIX = ".onnx"
OPERATORS = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat",
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "Pad", "Sigmoid", "LeakyRelu", "Slice", "Split",
)  # fmt: skip


def export(candidate: Candidate, target: "Target", out: Path) -> Artifact:
    """Writes `out` and describes it; inputs and outputs keep the names of the user's file.

    Raises:
        ConversionError: The quantizer cannot rewrite the graph.
    """
    precision, interface = candidate.recipe.precision, candidate.interface
    assert interface is not None
    model = onnx_graph.read(Path(candidate.onnx))
    free = candidate.free if candidate.free is not None and not candidate.free.reason else None
    if free is None:
        _one_sample(model)
    if precision == "int8" and candidate.scheme == "dynamic":
        assert candidate.quant is not None
        dynamic.quantize(model, candidate.quant)
    elif precision == "int8":
        _quantize(model, candidate)
    elif precision == "float16":
        passes.half_weights(model)
    passes.strip(model)
    passes.stamp(
        model, {"edgekit.version": __version__, "edgekit.precision": precision, **_lengths(candidate)}
    )
    onnx.checker.check_model(model)
    programs.write(out, model.SerializeToString(deterministic=True))
    inputs, outputs = named(*_specs(model, interface), free)
    return _written.artifact(
        out,
        "onnx",
        precision,
        (inputs, outputs),
        "as the model",
        {name: version(name) for name in ("onnx", "onnxruntime")},
        free=() if free is None else free.axes,
    )


def _lengths(candidate: Candidate) -> dict[str, str]:
    free = candidate.free
    return {"edgekit.lengths": " ".join(f"{a.name}={a.example}" for a in free.axes)} if free else {}


def _one_sample(model: onnx.ModelProto) -> None:
    """Writes 1 for the samples that the file leaves free."""
    shapes: dict[str, list[int | str]] = {
        name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for name, value in onnx_graph.inputs_of(model).items()
    }
    onnx_graph.fix_shapes(model, shapes)


def _specs(
    graph: onnx.ModelProto, interface: Interface
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Describes inputs and outputs at one sample, by asking the graph."""
    alone = onnx.ModelProto()
    alone.CopyFrom(graph)
    _one_sample(alone)
    feeds = {
        name: np.zeros(
            [d.dim_value for d in v.type.tensor_type.shape.dim],
            onnx_graph.TYPES[v.type.tensor_type.elem_type],
        )
        for name, v in onnx_graph.inputs_of(alone).items()
    }
    answers = onnx_graph.session(alone).run(list(interface.outputs), feeds)
    sides = (
        (interface.inputs, [feeds[name] for name in interface.inputs], interface.input_axes),
        (interface.outputs, answers, interface.output_axes),
    )
    found = [
        tuple(
            TensorSpec(name=n, shape=tuple(a.shape), dtype=str(a.dtype), batch_axis=axis)
            for n, a, axis in zip(*side, strict=True)
        )
        for side in sides
    ]
    return found[0], found[1]


def _quantize(model: onnx.ModelProto, candidate: Candidate) -> None:
    """Rewrites the graph in place.

    Raises:
        ConversionError: The quantizer raises.
    """
    quant = candidate.quant
    assert quant is not None
    ranges = json.loads(Path(candidate.calibration).read_text())
    data = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.items()
    }
    extra: dict[str, Any] = {"ActivationSymmetric": quant.symmetric_activations, "WeightSymmetric": True}
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # it asks, on the root logger, for a pre-processing that was done already
    try:
        quantizer = QDQQuantizer(
            model,
            per_channel=quant.granularity == "per_channel",
            reduce_range=quant.weight_bits < 8,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[],
            nodes_to_exclude=[],
            op_types_to_quantize=list(OPERATORS),
            extra_options=extra,
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    except Exception as error:  # it raises many kinds
        raise ConversionError(
            f"ONNX Runtime's quantizer cannot rewrite the graph: {' '.join(str(error).split())[:200] or type(error).__name__}"
        ) from error
    finally:
        log.setLevel(level)
    model.CopyFrom(quantizer.model.model)
