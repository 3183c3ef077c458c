"""The precision lint as a table: which operators keep a promise, and which files break it."""

from typing import Any

import msgspec
import pytest

from edgekit.records import Artifact, Precision, Scheme, TensorSpec
from edgekit.verify.lint import build_lint, keeps


def artifact(precision: Precision, dtype: str = "float32") -> Artifact:
    spec = TensorSpec(name="x", shape=(1, 3), dtype=dtype)
    return Artifact(
        path="m.onnx",
        format="onnx",
        precision=precision,
        size_bytes=1,
        sha256="",
        inputs=(spec,),
        outputs=(spec, spec),
        layout="NCHW",
        toolchain={},
    )


@pytest.mark.parametrize(
    ("dtype", "promised", "kept"),
    [
        ("int8", "int8", True),
        ("uint8", "int8", True),
        ("int8->int8", "int8", True),
        ("uint8->int8", "int8", True),
        ("int8->float32", "int8", False),
        ("float32->int8", "int8", False),
        ("int32", "int8", False),
        ("int16", "int8", False),
        ("float32", "int8", False),
        ("float16", "float16", True),
        ("float32", "float16", False),
        ("float16->float32", "float16", False),
        ("float32->float32", "float32", True),
        ("int8", "float32", False),
    ],
)
def test_keeps(dtype: str, promised: str, kept: bool) -> None:
    assert keeps(dtype, promised) is kept


FULL = {
    "QLinearConv:uint8": 9,
    "QLinearAdd:uint8": 2,
    "QuantizeLinear:uint8": 1,
    "DequantizeLinear:float32": 1,
}


@pytest.mark.parametrize(
    ("precision", "ops", "expected"),
    [
        ("int8", FULL, {"ops_in_precision": 11, "ops_float": 0, "conversions": 2, "transposes": 0}),
        (
            "int8",
            {**FULL, "Softmax:float32": 1, "Transpose:uint8": 3, "Reshape:float32": 4},
            {"ops_in_precision": 11, "ops_float": 1, "conversions": 2, "transposes": 3},
        ),
        (
            "int8",
            {"CONV_2D:int8->int8": 5, "TRANSPOSE:int8->int8": 2, "QUANTIZE:float32->int8": 1, "ARG_MAX:int8->int64": 1},
            {"ops_in_precision": 5, "ops_float": 0, "conversions": 1, "transposes": 2},
        ),
        ("int8", {"QGemm:float32": 1}, {"ops_in_precision": 0, "ops_float": 1}),
        ("int8", {"QLinearConv:uint8": 1, "Conv:float32": 1}, {"ops_in_precision": 1, "ops_float": 1}),
        ("float16", {"conv:float16": 4, "linear:float16": 1, "cast:float32": 2}, {"ops_in_precision": 5, "conversions": 2}),
        ("float32", {"Conv:float32": 4, "Relu:float32": 4}, {"ops_in_precision": 8, "ops_float": 0}),
        ("float32", {}, {"ops_in_precision": 0}),
    ],
)  # fmt: skip
def test_files_that_keep_their_promise(
    precision: Precision, ops: dict[str, int], expected: dict[str, Any]
) -> None:
    lint = build_lint(artifact(precision), ops, [])
    assert lint.passed and lint.findings == ()
    assert {name: getattr(lint, name) for name in expected} == expected
    assert lint.promised == precision
    assert lint.ops == ops and list(lint.ops) == sorted(ops)


@pytest.mark.parametrize(
    ("precision", "ops", "finding"),
    [
        (
            "int8",
            {"Conv:float32": 5, "Gemm:float32": 1, "QLinearConv:uint8": 1, "QuantizeLinear:uint8": 12},
            "only 1 of 7 multiply-accumulate operators run in int8",
        ),
        (
            "int8",
            {"CONV_2D:float32->float32": 3, "ADD:int8->int8": 90},
            "only 0 of 3 multiply-accumulate operators run in int8",
        ),
        (
            "float16",
            {"conv:float32": 3, "matmul:float16": 2},
            "only 2 of 5 multiply-accumulate operators run in float16",
        ),
        (
            "int8",
            {"LSTM:float32": 2, "DequantizeLinear:float32": 6},
            "only 0 of 2 multiply-accumulate operators run in int8",
        ),
    ],
)
def test_files_that_break_it(precision: Precision, ops: dict[str, int], finding: str) -> None:
    lint = build_lint(artifact(precision), ops, [])
    assert not lint.passed
    assert lint.findings == (finding,)


def test_storage_only_is_not_judged_by_its_arithmetic() -> None:
    lint = build_lint(artifact("float16"), {"Conv:float32": 5}, [], stored_only=True)
    assert lint.passed and lint.ops_float == 5


def test_a_back_ends_own_findings_come_first_and_fail_the_lint() -> None:
    lint = build_lint(artifact("int8"), {"Conv:float32": 1}, ["input x is float32, not int8"])
    assert not lint.passed
    assert lint.findings == (
        "input x is float32, not int8",
        "only 0 of 1 multiply-accumulate operators run in int8",
    )


def test_the_dtypes_at_the_border_are_those_of_the_file() -> None:
    lint = build_lint(artifact("int8", "int8"), {}, [])
    assert (lint.input_dtypes, lint.output_dtypes) == (("int8",), ("int8", "int8"))


@pytest.mark.parametrize(("scheme", "passed"), [("dynamic", True), ("static", False)])
def test_a_hybrid_operator_is_the_promise_of_a_dynamic_file_alone(scheme: Scheme, passed: bool) -> None:
    file = msgspec.structs.replace(artifact("int8"), scheme=scheme)
    lint = build_lint(file, {"FULLY_CONNECTED:hybrid": 3, "SOFTMAX:float32->float32": 1}, [])
    assert lint.passed is passed
    assert lint.ops_in_precision == (3 if passed else 0)
    assert lint.ops_float == (1 if passed else 4)


def test_a_dynamic_file_whose_layers_stay_float_breaks_its_promise() -> None:
    file = msgspec.structs.replace(artifact("int8"), scheme="dynamic")
    ops = {"MatMul:float32": 3, "DynamicQuantizeMatMul:uint8": 1, "DynamicQuantizeLinear:uint8": 1}
    lint = build_lint(file, ops, [])
    assert lint.findings == ("only 1 of 4 multiply-accumulate operators run in int8",)
    assert lint.conversions == 1


def test_a_cell_in_float_breaks_the_promise_of_a_dynamic_file() -> None:
    """Half of the operators are enough elsewhere; one LSTM is most of the work beside one small head."""
    ops = {"LSTM:float32": 1, "DynamicQuantizeMatMul:uint8": 3}
    file = msgspec.structs.replace(artifact("int8"), scheme="dynamic")
    assert build_lint(file, ops, []).findings == ("1 recurrent operators run in float, the recipe leaves 0",)
    assert build_lint(msgspec.structs.replace(file, float_layers=1), ops, []).passed


@pytest.mark.parametrize(("float_layers", "passed"), [(0, False), (7, True), (6, False)])
def test_a_recipe_may_leave_as_many_layers_float_as_it_says(float_layers: int, passed: bool) -> None:
    mixed = msgspec.structs.replace(artifact("int8"), float_layers=float_layers)
    lint = build_lint(mixed, {"QLinearConv:uint8": 3, "Conv:float32": 7}, [])
    assert lint.passed is passed
