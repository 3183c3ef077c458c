"""Embedding tables of an int8 ONNX file: each row stored as int8 with a scale of its own, widened when it is looked up.

A text model of eight thousand words keeps most of its weights in the table: in float it made an int8 transformer 0.85 of the
size of the float file. A lookup multiplies nothing, so no range of an activation is needed; the error of a number is at most
half a step, 1/254 of the largest of its row. The rows are widened after the lookup, not before it: onnxruntime would widen
the whole table at every inference.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.export._onnx_passes import drop_unused

#: a table with fewer elements is not worth three more operators
MIN_ELEMENTS = 1024
LARGEST = 127


def store_tables(model: onnx.ModelProto) -> None:
    """Turns Gather(table) into Cast(Gather(integers)) * Gather(scales), for tables that nothing but lookups reads."""
    graph = model.graph
    tables = {t.name: t for t in graph.initializer if _is_table(t) and _only_looked_up(graph, t.name)}
    body: list[onnx.NodeProto] = []
    for node in graph.node:
        body += _lookup(node) if node.op_type == "Gather" and node.input[0] in tables else [node]
    for name, table in tables.items():
        values = numpy_helper.to_array(table)
        scale = np.maximum(np.abs(values).max(1, keepdims=True), 1e-12) / np.float32(LARGEST)
        integers = np.rint(values / scale).astype(np.int8)
        graph.initializer.append(numpy_helper.from_array(integers, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in body]
    del graph.node[:]
    graph.node.extend(kept)
    drop_unused(model)


def _is_table(tensor: TensorProto) -> bool:
    return (
        tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) == 2
        and np.prod(tensor.dims) >= MIN_ELEMENTS
    )


def _only_looked_up(graph: onnx.GraphProto, name: str) -> bool:
    """Whether a tensor is read by rows, and by nothing else."""
    readers = [node for node in graph.node if name in node.input]
    return bool(readers) and all(
        node.op_type == "Gather" and node.input[0] == name and _axis(node) == 0 for node in readers
    )


def _axis(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "axis"), 0)


def _lookup(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    table, words = node.input
    name = node.output[0]
    return [
        helper.make_node("Gather", [f"{table}_int8", words], [f"{name}_int8"], name=f"{name}_row"),
        helper.make_node(
            "Cast", [f"{name}_int8"], [f"{name}_cast"], name=f"{name}_widen", to=TensorProto.FLOAT
        ),
        helper.make_node("Gather", [f"{table}_scale", words], [f"{name}_scale"], name=f"{name}_of_row"),
        helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name], name=f"{name}_scaled"),
    ]
