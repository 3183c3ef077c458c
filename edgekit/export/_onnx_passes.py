"""Rewrites of a finished ONNX file. Each takes the model and changes it in place; none changes what it computes."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_LAYERS = ("Conv", "Gemm", "MatMul")
_MOVES = ("Transpose", "Reshape", "Unsqueeze", "Squeeze")
#: a tensor with fewer elements is not worth a Cast
MIN_HALF_ELEMENTS = 64


def strip(model: onnx.ModelProto) -> None:
    """Drops whatever varies between runs or names this machine: traces, doc strings, inferred shapes, metadata."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        holder.ClearField("doc_string")
        holder.ClearField("metadata_props")
    del graph.value_info[:]
    model.ClearField("producer_version")
    graph.name = "model"


def stamp(model: onnx.ModelProto, properties: dict[str, str]) -> None:
    """Writes the properties of the file, which onnxruntime shows as custom metadata."""
    helper.set_model_props(model, dict(sorted(properties.items())))


def half_weights(model: onnx.ModelProto) -> None:
    """Stores float32 constants as float16 behind a Cast, which onnxruntime computes once, when it loads the file.

    A constant that float16 cannot hold (above 65504) or that it would mostly lose to zero stays as it is.
    """
    casts = []
    for tensor in model.graph.initializer:
        values = (
            numpy_helper.to_array(tensor)
            if tensor.data_type == TensorProto.FLOAT
            else np.empty(0, np.float32)
        )
        if values.size < MIN_HALF_ELEMENTS or not _fits_half(values):
            continue
        name, half = tensor.name, f"{tensor.name}_float16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(helper.make_node("Cast", [half], [name], name=f"{name}_widen", to=TensorProto.FLOAT))
    body = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + body)


def unsigned_activations(model: onnx.ModelProto) -> None:
    """Moves signed activations to unsigned: q + 128 with zero point + 128 is the same real number, exactly.

    x86 kernels of onnxruntime fuse u8 x s8 only; with s8 activations half the layers of a network stay float.
    Weights stay int8. Constants that take part as activations (the 3 of x + 3) are moved with them.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = _weight_sources(model.graph, constants)
    moved: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[0] in weights:
            continue
        for name in (node.input[0], node.input[2]):
            if name in constants and constants[name].data_type == TensorProto.INT8:
                moved.add(name)
    for name in sorted(moved):
        fresh = _add_unsigned(model.graph, constants[name])
        for node in model.graph.node:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] not in weights:
                node.input[:] = [fresh if i == name else i for i in node.input]
    drop_unused(model)


def mean_to_pool(model: onnx.ModelProto) -> None:
    """Turns a mean over height and width that keeps them into GlobalAveragePool, which has an integer kernel.

    Needs the inferred shapes, so it comes before `strip`.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.value_info}
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
            continue
        axes = sorted(int(a) for a in numpy_helper.to_array(constants[node.input[1]]).reshape(-1))
        keeps = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        if keeps and axes in ([-2, -1], [2, 3]) and ranks.get(node.output[0]) == 4:
            node.CopyFrom(
                helper.make_node("GlobalAveragePool", node.input[:1], list(node.output), name=node.name)
            )
    drop_unused(model)


def quantize_clips(model: onnx.ModelProto) -> None:
    """Drops a Relu or Clip right before a QuantizeLinear whose integers already end there.

    With zero point 0 the integer 0 is the real 0, so rounding into [0, 255] is the relu. Exact to the last bit;
    onnxruntime does it for convolutions, but not for a linear layer on sequences.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = {out: node for node in model.graph.node for out in node.output}
    read = Counter(name for node in model.graph.node for name in node.input)
    for quantize in model.graph.node:
        clip = made.get(quantize.input[0]) if quantize.op_type == "QuantizeLinear" else None
        if clip is None or clip.op_type not in ("Relu", "Clip") or read[clip.output[0]] > 1:
            continue
        scale, zero_point = (constants.get(name) for name in quantize.input[1:3])
        if scale is None or zero_point is None or scale.size > 1:
            continue
        low, high = _clip_range(clip, constants)
        limits, half = np.iinfo(zero_point.dtype), scale.item() / 2
        first, last = ((end - int(zero_point.item())) * scale.item() for end in (limits.min, limits.max))
        if low < first + half and high > last - half:
            quantize.input[0] = clip.input[0]
    drop_unused(model)


def _clip_range(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> tuple[float, float]:
    """The (low, high) of a Relu or Clip; NaN, for which no comparison holds, where a bound is not a constant."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    bounds = [-np.inf, np.inf]
    for i, name in enumerate(node.input[1:3]):
        if name:
            bounds[i] = float(constants[name].item()) if name in constants else np.nan
    return bounds[0], bounds[1]


def weights_first(model: onnx.ModelProto) -> None:
    """Turns stored int8 -> DequantizeLinear -> Transpose into transposed int8 -> DequantizeLinear, the form that fuses."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {out: node for node in model.graph.node for out in node.output}
    for node in [n for n in model.graph.node if n.op_type == "Transpose"]:
        source = made.get(node.input[0])
        if source is None or source.op_type != "DequantizeLinear" or source.input[0] not in constants:
            continue
        values = numpy_helper.to_array(constants[source.input[0]])
        order = next(
            (list(a.ints) for a in node.attribute if a.name == "perm"), list(range(values.ndim))[::-1]
        )
        stored = numpy_helper.from_array(
            np.ascontiguousarray(values.transpose(order)), f"{node.output[0]}_int8"
        )
        model.graph.initializer.append(stored)
        axis = next((a.i for a in source.attribute if a.name == "axis"), 1) % values.ndim
        node.CopyFrom(
            helper.make_node(
                "DequantizeLinear", [stored.name, *source.input[1:]], list(node.output), name=node.name,
                axis=order.index(axis),
            )
        )  # fmt: skip
    drop_unused(model)


def _weight_sources(graph: onnx.GraphProto, constants: dict[str, TensorProto]) -> set[str]:
    """Names of the stored integers that are weights: input 1 of a layer, perhaps behind a transpose."""
    made = {out: node for node in graph.node for out in node.output}
    found = set()
    for layer in graph.node:
        if layer.op_type not in _LAYERS:
            continue
        source = made.get(layer.input[1])
        while source is not None and source.op_type in _MOVES:
            source = made.get(source.input[0])
        if source is not None and source.op_type == "DequantizeLinear" and source.input[0] in constants:
            found.add(source.input[0])
    return found


def _add_unsigned(graph: onnx.GraphProto, tensor: TensorProto) -> str:
    values = (numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
    graph.initializer.append(numpy_helper.from_array(values, f"{tensor.name}_unsigned"))
    return f"{tensor.name}_unsigned"


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, in the bodies of a loop or a branch too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read_by(inner)


def drop_unused(model: onnx.ModelProto) -> None:
    """Removes nodes and stored tensors that nothing reads."""
    graph = model.graph
    while True:
        read = {name for node in graph.node for name in _read_by(node)} | {
            value.name for value in graph.output
        }
        dead = [node for node in graph.node if not read.intersection(node.output)]
        for node in dead:
            graph.node.remove(node)
        if not dead:
            break
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _fits_half(values: np.ndarray) -> bool:
    magnitude = np.abs(values)
    if not np.isfinite(values).all() or magnitude.max(initial=0.0) > np.finfo(np.float16).max:
        return False
    lost = np.count_nonzero((magnitude > 0) & (magnitude < np.finfo(np.float16).smallest_subnormal))
    return bool(lost <= values.size // 2)
