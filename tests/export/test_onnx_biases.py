"""Biases of integer layers are int32 in the file, so that old versions of ONNX Runtime fuse them; nothing else changes."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.export._onnx_biases import integer_biases

RNG = np.random.default_rng(0)


def net(
    bias: np.ndarray, x_scale: float = 0.02, quantized: bool = True, per_channel: bool = True
) -> onnx.ModelProto:
    """x [1, 3, 5, 5] -> Conv with 4 channels -> y, in integers or in float."""
    weight = RNG.integers(-63, 64, (4, 3, 3, 3)).astype(np.int8)
    scales = np.linspace(0.01, 0.02, 4, dtype=np.float32) if per_channel else np.float32(0.01)
    held = {
        "w": weight, "ws": scales, "wz": np.zeros(np.shape(scales), np.int8), "b": bias.astype(np.float32),
        "xs": np.float32(x_scale), "xz": np.uint8(128), "ys": np.float32(0.05),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["d" if quantized else "x", "wd", "b"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "ys", "xz"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "ys", "xz"], ["y"]),
    ]
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 5, 5]), ("y", [1, 4, 3, 3]))
    ]
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def answer(model: onnx.ModelProto) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(1, 3, 5, 5)).astype(np.float32)
    found = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    return np.asarray(found[0])


@pytest.mark.parametrize("per_channel", [True, False])
def test_an_integer_layer_gets_an_int32_bias_and_the_same_answers(per_channel: bool) -> None:
    model = net(RNG.normal(size=4), per_channel=per_channel)
    before = answer(model)
    integer_biases(model)
    onnx.checker.check_model(model, full_check=True)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    widened = next(node for node in model.graph.node if conv.input[2] in node.output)
    assert widened.op_type == "DequantizeLinear"
    assert stored[widened.input[0]].data_type == TensorProto.INT32
    assert np.abs(answer(model) - before).max() <= 0.05 + 1e-6  # at most one step of the output


@pytest.mark.parametrize(
    ("bias", "changes"),
    [(np.ones(4), {"quantized": False}), (np.full(4, 1e9), {}), (np.ones(4), {"x_scale": 0.0})],
)
def test_what_is_no_integer_layer_or_does_not_fit_stays_as_it_is(
    bias: np.ndarray, changes: dict[str, object]
) -> None:
    model = net(bias, **changes)  # type: ignore[arg-type]
    before = model.SerializeToString()
    integer_biases(model)
    assert model.SerializeToString() == before
