"""The precision lint: which operators keep a promise, what a file is called, and which files break their promise."""

from typing import Any

import msgspec
import pytest

from edgekit.records import Artifact, Precision, Scheme, TensorSpec
from edgekit.verify.lint import build_lint, keeps
from edgekit.verify.work import ExecutedGraph, Operator


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
        ("int16", "int8", True),  # of the activations: int16x8
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


def graph(*operators: tuple[str, str, int], **weight_bytes: int) -> ExecutedGraph:
    """(kind, dtype, multiply-accumulates) of each operator."""
    return ExecutedGraph(tuple(Operator(*operator) for operator in operators), weight_bytes)


FULL = (
    *[("QLinearConv", "uint8", 100)] * 9,
    *[("QLinearAdd", "uint8", 0)] * 2,
    ("QuantizeLinear", "uint8", 0),
    ("DequantizeLinear", "float32", 0),
)


@pytest.mark.parametrize(
    ("precision", "operators", "expected"),
    [
        ("int8", FULL, {"ops_in_precision": 11, "ops_float": 0, "conversions": 2, "transposes": 0, "share": 1.0}),
        (
            "int8",
            (*FULL, ("Softmax", "float32", 0), *[("Transpose", "uint8", 0)] * 3, *[("Reshape", "float32", 0)] * 4),
            {"ops_in_precision": 11, "ops_float": 1, "conversions": 2, "transposes": 3},
        ),
        (
            "int8",
            (("CONV_2D", "int8->int8", 5), ("TRANSPOSE", "int8->int8", 0), ("ARG_MAX", "int8->int64", 0)),
            {"ops_in_precision": 1, "ops_float": 0, "transposes": 1},
        ),
        (
            "float16",
            (("conv", "float16", 4), ("linear", "float16", 1), ("cast", "float32", 0)),
            {"ops_in_precision": 2, "conversions": 1, "share": 1.0},
        ),
        ("float32", (("Conv", "float32", 4), ("Relu", "float32", 0)), {"ops_in_precision": 2, "ops_float": 0}),
        ("float32", (), {"ops_in_precision": 0, "share": None, "called": "float32"}),
    ],
)  # fmt: skip
def test_files_that_keep_their_promise(
    precision: Precision, operators: tuple[tuple[str, str, int], ...], expected: dict[str, Any]
) -> None:
    lint = build_lint(artifact(precision), graph(*operators))
    assert lint.passed and lint.findings == ()
    assert {name: getattr(lint, name) for name in expected} == expected
    assert (lint.promised, lint.called) == (precision, precision)
    assert sum(lint.ops.values()) == len(operators) and list(lint.ops) == sorted(lint.ops)


def test_work_is_weighed_and_not_operators() -> None:
    """Ten small layers in integers beside one large float one: half a per cent of the operators is most of the work."""
    lint = build_lint(artifact("int8"), graph(*[("Conv", "uint8", 1)] * 10, ("ConvTranspose", "float32", 30)))
    assert lint.share == 0.25
    assert lint.called == "mixed, 25 % of the work in integers"
    assert lint.passed, "it competes as what it is; whether that gains anything is the gate's to judge"
    assert lint.notes == (
        "75.0 % of the multiply-accumulates do not run in int8: ConvTranspose float32 75.0 %",
    )


@pytest.mark.parametrize(("share", "called"), [(0.8, "int8"), (0.9, "mixed, 80 % of the work in integers")])
def test_the_profile_says_which_share_earns_the_name(share: float, called: str) -> None:
    lint = build_lint(artifact("int8"), graph(("Conv", "uint8", 8), ("Conv", "float32", 2)), min_share=share)
    assert lint.called == called


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_a_file_in_which_nothing_keeps_the_promise_breaks_it(precision: Precision) -> None:
    lint = build_lint(
        artifact(precision), graph(("CONV_2D", "float32->float32", 300), ("ADD", "int8->int8", 0))
    )
    assert not lint.passed
    assert lint.called == "float32"
    assert lint.findings == (
        f"0 % of the 300 multiply-accumulates run in {precision}: the file is not what it is called",
    )


def test_integers_that_are_only_stored_are_called_so() -> None:
    """A GRU has no integer kernel in ONNX Runtime: its weights are stored in 8 bits and widened."""
    file = msgspec.structs.replace(artifact("int8"), scheme="dynamic")
    lint = build_lint(file, graph(("GRU", "float32", 900), ("Softmax", "float32", 0), int8=900, float32=100))
    assert lint.passed
    assert lint.called == "float32, with 90 % of the weight bytes stored in integers"


def test_where_nothing_multiplies_operators_count() -> None:
    lint = build_lint(artifact("int8"), graph(("ADD", "int8->int8", 0), ("MUL", "float32->float32", 0)))
    assert (lint.share, lint.called) == (0.5, "mixed, 50 % of the work in integers")


def test_many_small_float_operators_are_told() -> None:
    operators = [("FULLY_CONNECTED", "int8->int8", 50)] * 17 + [("MUL", "float32->float32", 0)] * 75
    lint = build_lint(artifact("int8"), graph(*operators))
    assert (lint.called, lint.share) == ("int8", 1.0)
    assert lint.notes == ("75 of 92 computing operators do not run in int8: MUL",)


def test_storage_only_is_judged_by_its_weights() -> None:
    float_ops = graph(("Conv", "float32", 5), float16=900, float32=100)
    assert build_lint(artifact("float16"), float_ops, stored_only=True).passed
    less = graph(("Conv", "float32", 5), float16=800, float32=200)
    found = build_lint(artifact("float16"), less, stored_only=True)
    assert found.findings == ("only 80% of the weight bytes are float16",)
    assert (found.share, found.weight_share, found.called) == (None, 0.8, "float16")


def test_a_back_ends_own_findings_come_first_and_fail_the_lint() -> None:
    lint = build_lint(artifact("int8"), graph(("Conv", "uint8", 1)), ["first"])
    assert not lint.passed and lint.findings == ("first",)


def test_the_dtypes_at_the_border_are_those_of_the_file() -> None:
    lint = build_lint(artifact("int8", "int8"), graph())
    assert (lint.input_dtypes, lint.output_dtypes) == (("int8",), ("int8", "int8"))


@pytest.mark.parametrize(("scheme", "share"), [("dynamic", 1.0), ("static", 0.0)])
def test_a_hybrid_operator_is_the_promise_of_a_dynamic_file_alone(scheme: Scheme, share: float) -> None:
    file = msgspec.structs.replace(artifact("int8"), scheme=scheme)
    lint = build_lint(file, graph(("FULLY_CONNECTED", "hybrid", 3), ("SOFTMAX", "float32->float32", 0)))
    assert lint.share == share
    assert lint.passed is bool(share)
    assert lint.ops_float == (1 if share else 2)


def test_a_cell_in_float_is_most_of_the_work_of_a_dynamic_file() -> None:
    file = msgspec.structs.replace(artifact("int8"), scheme="dynamic")
    lint = build_lint(file, graph(("LSTM", "float32", 900), *[("DynamicQuantizeMatMul", "uint8", 30)] * 3))
    assert lint.called == "mixed, 9 % of the work in integers"
