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
    "protocol": "quick",
    "min_runs_count": 20,
    "min_duration_s": 0.02,
    "max_duration_s": 5.0,
    "warmup_s": 0.01,
    "timeout_s": 60.0,
}


def write_onnx(path: Path, width: int = 64, batch: int | str = 1, repeat: int = 1) -> np.ndarray:
    """y = relu(x @ w), `repeat` times over one square w; returns w."""
    from onnx import TensorProto, helper, numpy_helper

    weight = _weight(width)
    nodes, last = [], "x"
    for i in range(repeat):
        nodes += [
            helper.make_node("MatMul", [last, "w"], [f"m{i}"]),
            helper.make_node("Relu", [f"m{i}"], [f"r{i}"]),
        ]
        last = f"r{i}"
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], [numpy_helper.from_array(weight, "w")])
    _save_onnx(path, graph)
    return weight


def _weight(width: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)


def _save_onnx(path: Path, graph: Any) -> None:
    import onnx
    from onnx import helper

    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_onnx_int8(path: Path, width: int = 64, repeat: int = 2) -> None:
    """y = x @ w, `repeat` times, all of it int8 by QuantizeLinear and DequantizeLinear, as exporters write it."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.clip(np.rint(_weight(width) * 127), -127, 127).astype(np.int8)
    held = {"w": weight, "ws": np.float32(1 / 127), "s": np.float32(0.05), "z": np.int8(0)}
    nodes, last = [], "x"
    for i in range(repeat):
        nodes += [
            helper.make_node("QuantizeLinear", [last, "s", "z"], [f"q{i}"]),
            helper.make_node("DequantizeLinear", [f"q{i}", "s", "z"], [f"d{i}"]),
            helper.make_node("DequantizeLinear", ["w", "ws", "z"], [f"w{i}"]),
            helper.make_node("MatMul", [f"d{i}", f"w{i}"], [f"m{i}"]),
        ]
        last = f"m{i}"
    nodes += [
        helper.make_node("QuantizeLinear", [last, "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width]) for name in ("x", "y")]
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    _save_onnx(path, helper.make_graph(nodes, "g", sides[:1], sides[1:], made))


def write_onnx_loop(path: Path, turns: int = 5, width: int = 192) -> None:
    """y = x @ w, `turns` times in the body of one Loop."""
    from onnx import TensorProto, helper, numpy_helper

    def side(name: str, kind: int = TensorProto.FLOAT, shape: tuple[int, ...] = (width, width)) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["still"]),
            helper.make_node("MatMul", ["v", "w"], ["v1"], name="inner"),
        ],
        "body",
        [side("i", TensorProto.INT64, ()), side("on", TensorProto.BOOL, ()), side("v")],
        [side("still", TensorProto.BOOL, ()), side("v1")],
    )
    held = [numpy_helper.from_array(*pair) for pair in ((_weight(width), "w"), (np.array(turns), "n"))]
    loop = helper.make_node("Loop", ["n", "", "x"], ["y"], name="loop", body=body)
    _save_onnx(path, helper.make_graph([loop], "g", [side("x")], [side("y")], held))


def write_tflite(path: Path, inputs: int = 64, outputs: int = 32) -> None:
    """One int8 fully connected layer: x scale 0.02 zero 3, y scale 0.05 zero -5."""
    from ai_edge_litert import schema_py_generated as schema

    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    bias = rng.integers(-100, 100, outputs).astype(np.int32)

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
    op, code = schema.OperatorT(), schema.OperatorCodeT()
    tensors = [
        tensor("x", [1, inputs], int8, 0, 0.02, 3),
        tensor("w", [outputs, inputs], int8, 1, 0.01, 0),
        tensor("b", [outputs], int32, 2, 0.0002, 0),
        tensor("y", [1, outputs], int8, 0, 0.05, -5),
    ]
    op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1, 2], [3]
    op.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    op.builtinOptions = schema.FullyConnectedOptionsT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = schema.BuiltinOperator.FULLY_CONNECTED, 9, 4
    _save_tflite(path, tensors, (0, 3), [op], [code], [weight, bias])


def write_tflite_mixed(path: Path, ops: tuple[str, ...], width: int = 16) -> None:
    """A chain of float32 ops over [1, width], "FULLY_CONNECTED" (which XNNPACK takes) or "CUMSUM" (it does not)."""
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: list[int], kind: int, where: int = 0) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), shape, kind, where
        return made

    axis, kinds = np.array(1, np.int32), schema.TensorType
    tensors = [
        tensor("x", [1, width], kinds.FLOAT32),
        tensor("w", [width, width], kinds.FLOAT32, 1),
        tensor("axis", [], kinds.INT32, 2),
    ]
    codes, operators = [schema.OperatorCodeT() for _ in range(2)], []
    numbers = (schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.CUMSUM)
    for code, number in zip(codes, numbers, strict=True):
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
    for name in ops:
        op, last = schema.OperatorT(), len(tensors) - 1 if operators else 0
        whole = name == "FULLY_CONNECTED"
        op.opcodeIndex, op.inputs, op.outputs = (
            int(not whole),
            [last, 1, -1] if whole else [last, 2],
            [len(tensors)],
        )
        made = schema.FullyConnectedOptionsT() if whole else schema.CumsumOptionsT()
        op.builtinOptions = made
        op.builtinOptionsType = getattr(schema.BuiltinOptions, type(made).__name__.removesuffix("T"))
        tensors.append(tensor(f"t{len(tensors)}", [1, width], kinds.FLOAT32))
        operators.append(op)
    _save_tflite(path, tensors, (0, len(tensors) - 1), operators, codes, [_weight(width), axis])


def _save_tflite(
    path: Path,
    tensors: list[Any],
    ends: tuple[int, int],
    operators: list[Any],
    codes: list[Any],
    held: list[np.ndarray],
) -> None:
    """Writes one subgraph from the tensor `ends[0]` to `ends[1]`; buffer 0 is empty, `held` are the next ones."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators, graph.name = tensors, operators, b"main"
    graph.inputs, graph.outputs = [ends[0]], [ends[1]]
    model.version, model.operatorCodes, model.subgraphs = 3, codes, [graph]
    model.buffers = [schema.BufferT() for _ in range(len(held) + 1)]
    for buffer, array in zip(model.buffers[1:], held, strict=True):
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
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
