"""A user's own ONNX graph: read, checked, its shapes fixed, run by ONNX Runtime, and prepared for integers.

Such a file goes to the targets of ONNX by its own graph: no program of torch is made of it. Nothing in it can run code; a file
whose weights lie beside it is read with them.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from edgekit.errors import ConversionError, TaskError

if TYPE_CHECKING:
    import onnxruntime  # starts a thread where it is imported: servers, which fork, have this module and not that one

_UNKNOWN = re.compile(r"(\S+?)(?:\(-?\d+\))? is not a registered function/op")
_FRAME = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
PER_CHANNEL_OPSET = 13  # the first whose QuantizeLinear has an axis
TYPES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.BOOL: "bool",
}


def read(path: Path) -> onnx.ModelProto:
    """Reads a file.

    Raises:
        TaskError: There is none, it is damaged, or it is of a newer version than this machine's onnx.
    """
    if not path.is_file():
        raise TaskError(f"the model file {path} does not exist")
    try:
        model = onnx.load(path)
        newest = onnx.defs.onnx_opset_version()
        opset = opset_of(model)
        if opset <= newest and model.ir_version <= onnx.IR_VERSION:
            onnx.checker.check_model(model)
    except Exception as error:  # protobuf, missing weights beside the file, the checker
        raise TaskError(f"{path.name} is no ONNX file, or it is damaged: {_first(error)}") from error
    if opset > newest:
        raise TaskError(
            f"{path.name} is of opset {opset}; onnx {onnx.__version__} knows up to {newest}: export it with an older one"
        )
    if model.ir_version > onnx.IR_VERSION:
        raise TaskError(
            f"{path.name} is of IR version {model.ir_version}; onnx {onnx.__version__} knows up to {onnx.IR_VERSION}: write it with an older one"
        )
    _store_constants(model)
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Returns the version of the operators."""
    return max((int(s.version) for s in model.opset_import if s.domain in ("", "ai.onnx")), default=0)


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _store_constants(model: onnx.ModelProto) -> None:
    """Turns Constant nodes into stored tensors, where quantizers look for weights."""
    kept = []
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type != "Constant" or value is None:
            kept.append(node)
            continue
        stored = onnx.TensorProto()
        stored.CopyFrom(value)
        stored.name = node.output[0]
        model.graph.initializer.append(stored)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def inputs_of(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Returns what the graph takes, by name, without the weights that old files list too."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return {value.name: value for value in model.graph.input if value.name not in stored}


def fix_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int | str]]) -> None:
    """Writes the shapes of inputs into the file, a name for an axis that stays free, and drops those that follow from them."""
    for name, value in inputs_of(model).items():
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, shapes[name], strict=True):
            dim.Clear()
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    model.graph.value_info.extend(inferred.graph.value_info)


def session(model: onnx.ModelProto, path: Path | None = None) -> "onnxruntime.InferenceSession":
    """Opens the graph in ONNX Runtime.

    Args:
        model: The graph.
        path: Where to write it after the optimizations that change no operator's meaning (constants folded, norms folded).

    Raises:
        TaskError: It has an operator that ONNX Runtime does not know.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if path is not None:
        options.optimized_model_filepath = str(path)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise TaskError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {_said(error)}"
        ) from error


def _said(error: Exception) -> str:
    """The message without ONNX Runtime's own frame; an operator that it does not know by its name."""
    unknown = _UNKNOWN.search(str(error))
    if unknown:
        return f"it does not know the operator {unknown[1]}; export the model without it, or give the module that it was made of"
    return _FRAME.sub("", _first(error))


def operators(model: onnx.ModelProto) -> tuple[str, ...]:
    """Returns the kinds of operators, those of its own functions too."""
    return tuple(sorted({node.op_type for node in model.graph.node}))


def weights_of(model: onnx.ModelProto) -> list[np.ndarray]:
    """Returns the stored tensors of floats."""
    return [
        numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT
    ]


def prepared(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], path: Path) -> onnx.ModelProto:
    """Folds what is constant and brings the graph to operators that have integer forms; proven to answer the same.

    Raises:
        ConversionError: It cannot, or it would change the answers.
    """
    given = onnx.ModelProto()
    given.CopyFrom(model)
    before = session(given).run(None, dict(feeds))
    try:
        if opset_of(given) < PER_CHANNEL_OPSET:
            given = version_converter.convert_version(given, PER_CHANNEL_OPSET)
        session(given, path)
    except Exception as error:
        raise ConversionError(
            f"the graph is of opset {opset_of(model)} and cannot be brought to {PER_CHANNEL_OPSET}, which integers need: {_first(error)}"
        ) from error
    made = onnx.load(path)
    for was, now in zip(before, session(made).run(None, dict(feeds)), strict=True):
        if not np.allclose(was, now, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(was).max(initial=0.0)))):
            raise ConversionError("folding the constants of the ONNX graph changes what it computes")
    return made


def floats_between(model: onnx.ModelProto) -> list[str]:
    """Returns the names of the inputs and the results of operators that are floats."""
    inferred = onnx.shape_inference.infer_shapes(model)
    known: list[Any] = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    stored = {tensor.name for tensor in model.graph.initializer}
    floats = {v.name for v in known if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT} - stored
    return [name for name in dict.fromkeys(v.name for v in known) if name in floats]
