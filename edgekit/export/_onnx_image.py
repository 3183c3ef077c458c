"""An ONNX file that takes the bytes of an image: colour order, normalisation and layout as its first nodes."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit.export._app_layouts import permutation
from edgekit.quant import program as programs
from edgekit.records import Preprocessing, TensorSpec


def take(
    path: Path, spec: TensorSpec, preprocessing: Preprocessing, factor: np.ndarray, summand: np.ndarray
) -> None:
    """Rewrites the file in place: its input keeps its name, and is uint8 [N, H, W, C] of RGB from now on.

    Args:
        path: The file.
        spec: The input that it has, float32.
        preprocessing: What an app did before it.
        factor: What a pixel is multiplied with, float32 [C] in the model's order of colours.
        summand: What is added then.

    Raises:
        ConversionError: Axes of the image other than the first are free.
    """
    if set(spec.free) - {"0"}:
        raise ConversionError(
            f"{spec.name} has a free height or width; an image goes in where its size is fixed"
        )
    model = onnx.load(path)
    graph = model.graph
    inner = _free_name(graph, f"{spec.name}_tensor")
    _rename(graph, spec.name, inner)
    nodes: list[onnx.NodeProto] = []
    last = spec.name

    def add(kind: str, *inputs: str, **attributes: object) -> None:
        nonlocal last
        nodes.append(helper.make_node(kind, [last, *inputs], [f"{inner}_{len(nodes)}"], **attributes))
        last = nodes[-1].output[0]

    add("Cast", to=TensorProto.FLOAT)
    constants = {"factor": factor, "summand": summand}
    if preprocessing.color_order == "BGR" and len(factor) == 3:
        constants["colors"] = np.array([2, 1, 0], np.int64)
        add("Gather", f"{inner}_colors", axis=3)
    add("Mul", f"{inner}_factor")
    add("Add", f"{inner}_summand")
    if preprocessing.layout == "NCHW":
        add("Transpose", perm=permutation("NHWC", "NCHW"))
    nodes[-1].output[0] = inner
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    graph.initializer.extend(
        numpy_helper.from_array(value, f"{inner}_{name}") for name, value in constants.items()
    )
    (value,) = (value for value in graph.input if value.name == spec.name)
    _make_image(value, preprocessing.layout)
    onnx.checker.check_model(model, full_check=True)
    programs.write(path, model.SerializeToString(deterministic=True))


def _free_name(graph: onnx.GraphProto, wanted: str) -> str:
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {value.name for value in graph.initializer}
    while wanted in taken:
        wanted += "_"
    return wanted


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Every use of a value, those of inner graphs too."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, old, new)
    for value in graph.output:
        if value.name == old:
            raise ConversionError(f"the output {old} is the input itself; no image can be taken before it")


def _make_image(value: onnx.ValueInfoProto, layout: str) -> None:
    tensor = value.type.tensor_type
    tensor.elem_type = TensorProto.UINT8
    dims = [onnx.TensorShapeProto.Dimension.FromString(dim.SerializeToString()) for dim in tensor.shape.dim]
    for dim, axis in zip(tensor.shape.dim, permutation(layout, "NHWC"), strict=True):
        dim.CopyFrom(dims[axis])
