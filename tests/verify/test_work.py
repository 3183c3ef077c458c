"""Multiply-accumulates of the operators that runtimes execute, against those that can be counted by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.verify.graphs import onnxruntime
from edgekit.verify.work import bytes_by_dtype, product


@pytest.mark.parametrize(
    ("left", "result", "macs"),
    [
        ((2, 3), (2, 5), 30),
        ((3, 2), (2, 5), 30),  # stored transposed
        ((7, 2, 3), (7, 2, 5), 210),
        ((3,), (5,), 15),
        ((2, 3), (7, 2, 5), 210),  # one stored matrix times a batch
    ],
)
def test_a_matrix_product(left: tuple[int, ...], result: tuple[int, ...], macs: int) -> None:
    assert product(left, result) == macs


def test_small_constants_and_biases_are_no_weights() -> None:
    constants = [
        ("int8", (16, 16), 256),
        ("int8", (3, 3), 9),
        ("int32", (512, 1), 2048),
        ("float32", (1024,), 4096),
    ]
    assert bytes_by_dtype(constants) == {"int8": 256}


NODES = {
    "Conv": (["x", "w"], (1, 4, 6, 6), (8, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}, 8 * 36 * 2 * 9),
    "ConvTranspose": (["x", "w"], (1, 4, 6, 6), (4, 8, 2, 2), {"strides": [2, 2]}, 4 * 36 * 8 * 4),
    "MatMul": (["x", "w"], (2, 3, 4), (4, 5), {}, 2 * 3 * 4 * 5),
    "Gemm": (["x", "w"], (3, 4), (5, 4), {"transB": 1}, 3 * 4 * 5),
    "Einsum": (["x", "w"], (2, 3, 4), (4, 5), {"equation": "abc,cd->abd"}, 2 * 3 * 4 * 5),
}


@pytest.mark.parametrize("kind", NODES)
def test_the_graph_that_onnx_runtime_runs(kind: str, tmp_path: Path) -> None:
    inputs, shape, weight, attributes, macs = NODES[kind]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(weight, np.float32), "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        tmp_path / "m.onnx",
    )
    found = onnxruntime.read(str(tmp_path / "m.onnx"))
    assert sum(op.macs for op in found.operators) == macs
    assert {op.dtype for op in found.operators if op.macs} == {"float32"}


@pytest.mark.parametrize(
    ("kind", "shapes", "macs"),
    [
        ("QGemm", {"a": (10, 16), "b": (16, 48)}, 10 * 16 * 48),
        ("QGemm", {"a": (10, 16), "b": (48, 16)}, 10 * 16 * 48),  # stored transposed
        ("QLinearMatMul", {"a": (2, 10, 8), "b": (2, 8, 10)}, 2 * 10 * 8 * 10),
        ("QLinearMatMul", {"b": (8, 10)}, 0),
    ],
)
def test_a_product_whose_result_nothing_tells(
    kind: str, shapes: dict[str, tuple[int, ...]], macs: int
) -> None:
    names = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero"]
    turned = {"transB": 1} if shapes["b"] == (48, 16) else {}
    assert onnxruntime._macs(helper.make_node(kind, names, ["y"], **turned), shapes) == macs
