"""Tiny real models: an ONNX file by onnx.helper, an int8 TFLite file by its flatbuffer schema."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

RUNNER = Path(__file__).resolve().parents[2] / "runner"
QUICK = {
    "min_runs_count": 20,
    "min_duration_s": 0.02,
    "max_duration_s": 5.0,
    "warmup_s": 0.01,
    "timeout_s": 60.0,
}


def write_onnx(path: Path, width: int = 64, batch: int | str = 1, repeat: int = 1) -> np.ndarray:
    """y = relu(x @ w), `repeat` times over one square w; returns w."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = (np.random.default_rng(0).standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)
    nodes, last = [], "x"
    for i in range(repeat):
        nodes += [
            helper.make_node("MatMul", [last, "w"], [f"m{i}"]),
            helper.make_node("Relu", [f"m{i}"], [f"r{i}"]),
        ]
        last = f"r{i}"
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return weight


def write_tflite(path: Path, inputs: int = 64, outputs: int = 32) -> None:
    """One int8 fully connected layer: x scale 0.02 zero 3, y scale 0.05 zero -5."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    bias = rng.integers(-100, 100, outputs).astype(np.int32)

    def buffer(array: np.ndarray | None) -> Any:
        made = schema.BufferT()
        made.data = None if array is None else np.frombuffer(array.tobytes(), np.uint8)
        return made

    def tensor(name: str, shape: list[int], kind: int, where: int, scale: float, zero: int) -> Any:
        made, quant = schema.TensorT(), schema.QuantizationParametersT()
        quant.scale, quant.zeroPoint = [scale], [zero]
        made.name, made.shape, made.type, made.buffer, made.quantization = (
            name.encode(),
            shape,
            kind,
            where,
            quant,
        )
        return made

    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    graph, op, code, model = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
    graph.tensors = [
        tensor("x", [1, inputs], int8, 0, 0.02, 3),
        tensor("w", [outputs, inputs], int8, 1, 0.01, 0),
        tensor("b", [outputs], int32, 2, 0.0002, 0),
        tensor("y", [1, outputs], int8, 0, 0.05, -5),
    ]
    graph.inputs, graph.outputs, graph.operators, graph.name = [0], [3], [op], b"main"
    op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1, 2], [3]
    op.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    op.builtinOptions = schema.FullyConnectedOptionsT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = schema.BuiltinOperator.FULLY_CONNECTED, 9, 4
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [buffer(None), buffer(weight), buffer(bias)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def tflite_reference(real: np.ndarray, inputs: int = 64, outputs: int = 32) -> np.ndarray:
    """What the layer of `write_tflite` computes, in real values, before the output is quantized."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (outputs, inputs)) * 0.01
    bias = rng.integers(-100, 100, outputs) * 0.0002
    stored = np.clip(np.rint(real / 0.02) + 3, -128, 127)
    low, high = (-128 + 5) * 0.05, (127 + 5) * 0.05
    return np.clip((stored - 3) * 0.02 @ weight.T + bias, low, high).astype(np.float32)


def cli(*arguments: object, **env: str) -> "subprocess.CompletedProcess[str]":
    """The command line in a process of its own, with the package on PYTHONPATH only."""
    command = [sys.executable, "-m", "edgekit_runner", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(RUNNER), **env}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def last_record(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """The JSON object on the last line of stdout."""
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found
