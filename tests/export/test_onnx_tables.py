"""Stored embedding tables: the numbers of each row, and which tables are left alone."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.export._onnx_tables import store_tables

WORDS = np.array([[3, 0, 41, 7]])


def model(table: np.ndarray, axis: int = 0, also: str = "") -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["table", "words"], ["y"], axis=axis)]
    if also:
        nodes.append(helper.make_node(also, ["table"], ["z"]))
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in (["y", "z"] if also else ["y"])
    ]
    inputs = [helper.make_tensor_value_info("words", TensorProto.INT64, [1, 4])]
    graph = helper.make_graph(nodes, "t", inputs, outputs, [numpy_helper.from_array(table, "table")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def table(rows: int = 64, width: int = 32) -> np.ndarray:
    """Row 3 is a thousand times smaller, row 0 all zeros, as padding is."""
    values = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    values[3] *= 1e-3
    values[0] = 0
    return values


def test_each_row_is_within_half_a_step_of_its_own() -> None:
    stored, values = model(table()), table()
    store_tables(stored)
    (got,) = ort.InferenceSession(stored.SerializeToString()).run(None, {"words": WORDS})
    half_steps = np.abs(values).max(1)[WORDS[0]] / 254
    assert (np.abs(got[0] - values[WORDS[0]]).max(1) <= half_steps * 1.001).all()
    assert not got[0, 1].any(), "padding stays zero"
    assert stored.ByteSize() < 0.4 * values.nbytes


@pytest.mark.parametrize(
    "untouched",
    [model(table(8, 8)), model(table(), axis=1), model(table(), also="Neg")],
    ids=["small", "by columns", "read by another"],
)
def test_left_alone(untouched: onnx.ModelProto) -> None:
    before = [node.op_type for node in untouched.graph.node]
    store_tables(untouched)
    assert [node.op_type for node in untouched.graph.node] == before
    assert [t.data_type for t in untouched.graph.initializer] == [TensorProto.FLOAT]
