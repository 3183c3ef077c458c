"""The LiteRT back end on flatbuffers of one layer, written by hand: no converter takes part."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner.artifact import sha256

from edgekit.records import Artifact, Precision, TensorSpec

pytest.importorskip("ai_edge_litert")
pytest.importorskip("flatbuffers")

from edgekit.verify.backends import litert as backend
from edgekit.verify.graphs.litert import read
from edgekit.verify.predict import Predictor

INPUTS, OUTPUTS = 8, 5
X, Y = (0.02, 3), (0.05, -5)
RNG = np.random.default_rng(0)
WEIGHT = RNG.integers(-127, 128, (OUTPUTS, INPUTS))
BIAS = RNG.integers(-100, 100, OUTPUTS)


def write(path: Path, dtype: str, transpose: bool = False) -> None:
    """y = w x + b in int8 or float32; `transpose` puts a useless TRANSPOSE of the input before it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    integer = dtype == "int8"
    kinds = schema.TensorType
    main = kinds.INT8 if integer else kinds.FLOAT32
    weight = WEIGHT.astype(np.int8) if integer else (WEIGHT * 0.01).astype(np.float32)
    bias = BIAS.astype(np.int32) if integer else (BIAS * 0.0002).astype(np.float32)
    contents = [None, weight, bias, np.array([0, 1], np.int32)]

    def buffer(array: np.ndarray | None) -> Any:
        made = schema.BufferT()
        made.data = None if array is None else np.frombuffer(array.tobytes(), np.uint8)
        return made

    def tensor(name: str, shape: list[int], kind: int, where: int, scale: float, zero: int) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), shape, kind, where
        if integer and (kind != kinds.INT32 or name == "b"):
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
        return made

    def operator(code: int, inputs: list[int], outputs: list[int], options: Any, kind: int) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
        made.builtinOptions, made.builtinOptionsType = options, kind
        return made

    def code(builtin: int, version: int) -> Any:
        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = builtin, builtin, version
        return made

    ops, kinds_of = schema.BuiltinOperator, schema.BuiltinOptions
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", [1, INPUTS], main, 0, *X),
        tensor("w", [OUTPUTS, INPUTS], main, 1, 0.01, 0),
        tensor("b", [OUTPUTS], kinds.INT32 if integer else main, 2, 0.0002, 0),
        tensor("y", [1, OUTPUTS], main, 0, *Y),
        tensor("t", [1, INPUTS], main, 0, *X),
        tensor("order", [2], kinds.INT32, 3, 1.0, 0),
    ]
    layer = operator(
        0, [4 if transpose else 0, 1, 2], [3], schema.FullyConnectedOptionsT(), kinds_of.FullyConnectedOptions
    )
    move = operator(1, [0, 5], [4], schema.TransposeOptionsT(), kinds_of.TransposeOptions)
    graph.operators = [move, layer] if transpose else [layer]
    graph.inputs, graph.outputs, graph.name = [0], [3], b"main"
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [buffer(c) for c in contents]
    model.operatorCodes = [code(ops.FULLY_CONNECTED, 4 if integer else 1), code(ops.TRANSPOSE, 2)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def artifact(path: Path, precision: Precision, dtype: str) -> Artifact:
    def spec(name: str, n: int, quant: tuple[float, int]) -> TensorSpec:
        affine = {"scale": quant[0], "zero_point": quant[1]} if dtype == "int8" else {}
        return TensorSpec(name=name, shape=(1, n), dtype=dtype, **affine)

    return Artifact(
        path=str(path),
        format="tflite",
        precision=precision,
        size_bytes=path.stat().st_size,
        sha256=sha256(path),
        inputs=(spec("x", INPUTS, X),),
        outputs=(spec("y", OUTPUTS, Y),),
        layout="NHWC",
        toolchain={},
    )


@pytest.mark.parametrize(
    ("dtype", "transpose", "counts"),
    [
        ("int8", False, {"FULLY_CONNECTED:int8->int8": 1}),
        ("int8", True, {"TRANSPOSE:int8->int8": 1, "FULLY_CONNECTED:int8->int8": 1}),
        ("float32", False, {"FULLY_CONNECTED:float32->float32": 1}),
    ],
)
def test_operators_are_counted_by_what_they_read_and_write(
    tmp_path: Path, dtype: str, transpose: bool, counts: dict[str, int]
) -> None:
    write(tmp_path / "m.tflite", dtype, transpose)
    found = read(str(tmp_path / "m.tflite")).counts()
    assert found == counts
    assert list(found) == list(counts), "in the order of the graph"


def test_a_full_integer_file(tmp_path: Path) -> None:
    write(tmp_path / "m.tflite", "int8", transpose=True)
    lint = backend.lint(artifact(tmp_path / "m.tflite", "int8", "int8"))
    assert lint.passed, lint.findings
    assert (lint.ops_in_precision, lint.ops_float, lint.conversions, lint.transposes) == (1, 0, 0, 1)
    assert (lint.input_dtypes, lint.output_dtypes) == (("int8",), ("int8",))


def test_a_float_file_that_calls_itself_int8(tmp_path: Path) -> None:
    write(tmp_path / "m.tflite", "float32")
    lint = backend.lint(artifact(tmp_path / "m.tflite", "int8", "float32"))
    assert lint.findings == (
        "0 % of the 40 multiply-accumulates run in int8: the file is not what it is called",
    )


def test_float16_is_a_promise_of_storage(tmp_path: Path) -> None:
    write(tmp_path / "m.tflite", "float32")
    lint = backend.lint(artifact(tmp_path / "m.tflite", "float16", "float32"))
    assert lint.passed and lint.share is None


@pytest.mark.parametrize("exact", [False, True])
def test_the_answer_is_numpys(tmp_path: Path, exact: bool) -> None:
    write(tmp_path / "m.tflite", "int8")
    file = artifact(tmp_path / "m.tflite", "int8", "int8")
    model = [TensorSpec(name="input", shape=(1, INPUTS), dtype="float32")]
    real = np.random.default_rng(1).normal(size=(3, INPUTS)).astype(np.float32)
    got = Predictor(backend.open_session(file.path, exact=exact), file, model)(real)
    stored = np.clip(np.rint(real / X[0]) + X[1], -128, 127)
    layer = (stored - X[1]) * X[0] @ (WEIGHT * 0.01).T + BIAS * 0.0002
    wanted = np.clip(layer, (-128 - Y[1]) * Y[0], (127 - Y[1]) * Y[0])
    assert np.abs(got - wanted).max() <= Y[0] * 0.51
