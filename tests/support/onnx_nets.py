"""Tiny ONNX files made by hand, with their records: float, half stored, and quantized throughout."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edgekit_runner.artifact import sha256
from onnx import TensorProto, helper, numpy_helper

from edgekit.records import Artifact, Precision, TensorSpec

INPUT = TensorSpec(name="x", shape=(1, 4, 6, 6), dtype="float32")
OUTPUT = TensorSpec(name="y", shape=(1, 4), dtype="float32")


def save(path: Path, nodes: list[Any], constants: dict[str, np.ndarray], precision: Precision) -> Artifact:
    sides = [[helper.make_tensor_value_info(s.name, TensorProto.FLOAT, s.shape)] for s in (INPUT, OUTPUT)]
    initial = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", *sides, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return described(path, precision, INPUT, OUTPUT)


def described(path: Path, precision: Precision, x: TensorSpec, y: TensorSpec) -> Artifact:
    """The record of an ONNX file with one input and one output."""
    return Artifact(
        path=str(path),
        format="onnx",
        precision=precision,
        size_bytes=path.stat().st_size,
        sha256=sha256(path),
        inputs=(x,),
        outputs=(y,),
        layout="NCHW",
        toolchain={},
    )


def tail(before: str) -> list[Any]:
    return [
        helper.make_node("GlobalAveragePool", [before], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]


def float_net(path: Path, precision: Precision = "float32") -> Artifact:
    weight = np.random.default_rng(0).normal(size=(4, 4, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), *tail("c")]
    return save(path, nodes, {"w": weight}, precision)


def half_net(path: Path, share: float) -> Artifact:
    """Weights stored in float16 and widened by a Cast, as far as `share` goes; the rest stays float32."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(int(64 * share), 4, 3, 3)).astype(np.float16)
    full = rng.normal(size=(64 - len(half), 4, 3, 3)).astype(np.float32)
    widen = helper.make_node("Cast", ["half"], ["w0"], to=TensorProto.FLOAT)
    parts = ["w0"] + (["full"] if len(full) else [])
    nodes = [
        widen,
        helper.make_node("Concat", parts, ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Slice", ["c", "zero", "four", "one"], ["s"]),
        *tail("s"),
    ]
    ints = {"zero": [0], "four": [4], "one": [1]}
    constants = {"half": half, **{k: np.array(v, np.int64) for k, v in ints.items()}}
    return save(path, nodes, {**constants, **({"full": full} if len(full) else {})}, "float16")


def qdq_net(path: Path, largest: int) -> Artifact:
    """Q/DQ around one convolution and the pool: u8 activations, s8 per-channel weights up to +-`largest`."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-largest, largest + 1, (4, 4, 3, 3)).astype(np.int8)
    weight[:, 0, 0, :2] = largest  # two neighbours at the limit in every channel
    constants = {
        "w_q": weight,
        "w_s": np.full(4, 0.01, np.float32),
        "w_z": np.zeros(4, np.int8),
        "x_s": np.array(0.02, np.float32),
        "x_z": np.array(128, np.uint8),
        "c_s": np.array(0.05, np.float32),
        "c_z": np.array(128, np.uint8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_s", "x_z"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "x_s", "x_z"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["w_q", "w_s", "w_z"], ["w_d"], axis=0),
        helper.make_node("Conv", ["x_d", "w_d"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["c", "c_s", "c_z"], ["c_q"]),
        helper.make_node("DequantizeLinear", ["c_q", "c_s", "c_z"], ["c_d"]),
        helper.make_node("GlobalAveragePool", ["c_d"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "c_s", "c_z"], ["p_q"]),
        helper.make_node("DequantizeLinear", ["p_q", "c_s", "c_z"], ["p_d"]),
        helper.make_node("Flatten", ["p_d"], ["y"]),
    ]
    return save(path, nodes, constants, "int8")
