"""HardSwish and constant factors between integers: same values, and only integer kernels are left."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.export import _onnx_integers as integers
from edgekit.export import _onnx_passes as passes

SIZE = 512


def node(op: str, inputs: str, output: str) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=f"node_{output}")


def model(body: list[onnx.NodeProto], constants: dict[str, object], output: str = "y") -> onnx.ModelProto:
    """x -> integers of scale 0.05 around 120 -> body -> y."""
    head = [node("QuantizeLinear", "x xs xz", "xq"), node("DequantizeLinear", "xq xs xz", "xf")]
    values = {"xs": np.float32(0.05), "xz": np.uint8(120), **constants}
    graph = helper.make_graph(
        head + body,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SIZE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, SIZE])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def run(made: onnx.ModelProto) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.linspace(-7, 7, SIZE, dtype=np.float32)[None]})[0]


def fused(made: onnx.ModelProto, folder: Path) -> Counter[str]:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(n.op_type for n in onnx.load(folder / "fused.onnx").graph.node)


HARDSWISH = [
    node("HardSwish", "xf", "h"),
    node("QuantizeLinear", "h ys yz", "yq"),
    node("DequantizeLinear", "yq ys yz", "y"),
]
GRID = {"ys": np.float32(7.5 / 255), "yz": np.uint8(13)}


def test_hardswish_becomes_integer_kernels_within_a_step(tmp_path: Path) -> None:
    before = model(HARDSWISH, GRID)
    after = model(HARDSWISH, GRID)
    integers.hardswish_in_integers(after)
    onnx.checker.check_model(after, full_check=True)
    assert np.abs(run(before) - run(after)).max() <= GRID["ys"] * 1.001
    assert fused(before, tmp_path)["HardSigmoid"] == 1
    assert set(fused(after, tmp_path)) == {"QuantizeLinear", "QLinearAdd", "QLinearMul", "DequantizeLinear"}


@pytest.mark.parametrize(
    "body",
    [
        [node("HardSwish", "xf", "y")],
        [node("Neg", "xf", "n"), node("HardSwish", "n", "h"), *HARDSWISH[1:]],
    ],
    ids=["read in float", "made in float"],
)
def test_a_hardswish_in_float_stays(body: list[onnx.NodeProto]) -> None:
    made = model(body, GRID)
    before = made.SerializeToString(deterministic=True)
    integers.hardswish_in_integers(made)
    assert made.SerializeToString(deterministic=True) == before


def scaled(factor: float, second_scale: float, zero: int = 120) -> onnx.ModelProto:
    """x * factor, where the factor is a stored integer; then an addition reads it."""
    body = [
        node("DequantizeLinear", "cq cs cz", "c"),
        node("Mul", "xf c", "m"),
        node("QuantizeLinear", "m ms mz", "mq"),
        node("DequantizeLinear", "mq ms mz", "mf"),
        node("Neg", "mf", "y"),
    ]
    constants = {
        "cq": np.uint8(255), "cs": np.float32(abs(factor) / 255), "cz": np.uint8(0),
        "ms": np.float32(second_scale), "mz": np.uint8(zero),
    }  # fmt: skip
    return model(body, constants)


def test_a_constant_factor_goes_into_the_scale() -> None:
    made = scaled(1 / 6, 0.05 / 6)
    before = run(made)
    integers.scale_in_grid(made)
    passes.drop_unused(made)
    assert Counter(n.op_type for n in made.graph.node)["Mul"] == 0
    assert np.abs(run(made) - before).max() < 1e-5


@pytest.mark.parametrize(
    ("second_scale", "zero"), [(0.05 / 5, 120), (0.05 / 6, 119)], ids=["another scale", "another zero point"]
)
def test_grids_that_differ_otherwise_keep_the_factor(second_scale: float, zero: int) -> None:
    made = scaled(1 / 6, second_scale, zero)
    integers.scale_in_grid(made)
    passes.drop_unused(made)
    assert Counter(n.op_type for n in made.graph.node)["Mul"] == 1
