"""The ONNX Runtime back end on tiny files made by hand: what it counts, and what it says about saturation."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgekit_runner.artifact import sha256
from edgekit_runner.errors import UserError
from onnx import helper, numpy_helper
from onnx_nets import float_net, half_net, qdq_net

from edgekit.records import TensorSpec
from edgekit.verify.backends import onnxruntime as backend
from edgekit.verify.predict import Predictor

MODEL_INPUTS = (TensorSpec(name="input", shape=(1, 4, 6, 6), dtype="float32"),)
INT16_MAX = 32767


def inputs(n: int = 5) -> list[np.ndarray]:
    return [np.random.default_rng(1).normal(size=(n, 4, 6, 6)).astype(np.float32)]


# ------------------------------------------------------------------------------------------------------ lint


def test_an_int8_file_that_runs_in_int8(tmp_path: Path) -> None:
    lint = backend.lint(qdq_net(tmp_path / "m.onnx", 63))
    assert lint.passed, lint.findings
    assert lint.ops["QLinearConv:uint8"] == 1
    assert not any(op.startswith("Conv") for op in lint.ops)
    assert lint.ops_float == 0
    assert lint.conversions == 2, "in and out; the pairs between were fused"
    assert lint.transposes == 0


def test_a_float_file_that_calls_itself_int8(tmp_path: Path) -> None:
    lint = backend.lint(float_net(tmp_path / "m.onnx", "int8"))
    assert not lint.passed
    assert lint.findings == (
        f"0 % of the {lint.work[0].macs} multiply-accumulates run in int8: the file is not what it is called",
    )
    assert (lint.share, lint.called) == (0.0, "float32")
    assert lint.ops_float == 2


def test_a_float_file_as_float(tmp_path: Path) -> None:
    lint = backend.lint(float_net(tmp_path / "m.onnx"))
    assert lint.passed
    assert (lint.ops_in_precision, lint.conversions) == (2, 0)


@pytest.mark.parametrize(
    ("share", "finding"), [(1.0, ()), (0.5, ("only 33% of the weight bytes are float16",))]
)
def test_float16_is_a_promise_of_storage(tmp_path: Path, share: float, finding: tuple[str, ...]) -> None:
    lint = backend.lint(half_net(tmp_path / "m.onnx", share))
    assert lint.findings == finding
    assert lint.passed is not bool(finding)


def test_the_lint_leaves_the_file_and_its_folder_alone(tmp_path: Path) -> None:
    artifact = qdq_net(tmp_path / "m.onnx", 63)
    backend.lint(artifact)
    assert sha256(artifact.path) == artifact.sha256
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


# ------------------------------------------------------------------------------------------------------ saturation


@pytest.mark.parametrize(("largest", "holds"), [(127, False), (65, False), (64, True), (63, True), (1, True)])
def test_pair_bound(tmp_path: Path, largest: int, holds: bool) -> None:
    """Two products of 255 x w each: 2 * 255 * 64 = 32640 fits 16 bits, 2 * 255 * 65 = 33150 does not."""
    bound = backend.pair_bound(qdq_net(tmp_path / "m.onnx", largest).path)
    assert bound == 2 * 255 * largest
    assert (bound <= INT16_MAX) is holds


def test_pair_bound_of_a_float_file(tmp_path: Path) -> None:
    assert backend.pair_bound(float_net(tmp_path / "m.onnx").path) == 0


def test_biases_and_activations_are_no_weights(tmp_path: Path) -> None:
    """Only int8 constants of two axes or more are multiplied with u8 activations."""
    artifact = qdq_net(tmp_path / "m.onnx", 10)
    model = onnx.load(artifact.path)
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.full(9, 127, np.int8), "b_q"))
    graph.node.append(helper.make_node("DequantizeLinear", ["b_q", "x_s"], ["b_d"]))
    onnx.save(model, artifact.path)
    assert backend.pair_bound(artifact.path) == 2 * 255 * 10


@pytest.mark.parametrize(
    ("largest", "isa", "can_saturate", "start"),
    [
        (63, "avx2", False, "cannot saturate: the weights keep every pair of products within 16 bits; "),
        (63, "avx512-vnni", False, "cannot saturate: "),
        (127, "avx2", True, "can saturate on avx2: pairs of products exceed 16 bits; "),
        (127, "avx512", True, "can saturate on avx512: "),
        (127, "avx512-vnni", False, "full-range weights, right on avx512-vnni (32-bit sums); "),
        (127, "arm-neon", False, "full-range weights, right on arm-neon (32-bit sums); "),
    ],
)
def test_saturation(tmp_path: Path, largest: int, isa: str, can_saturate: bool, start: str) -> None:
    artifact = qdq_net(tmp_path / "m.onnx", largest)
    found = backend.saturation(artifact, inputs(5), MODEL_INPUTS, isa, "this-isa")
    assert found.can_saturate is can_saturate
    assert found.bound_holds is (largest < 65)
    assert found.samples == 5
    assert found.agreement is not None
    assert found.conclusion.startswith(start)
    assert found.conclusion.endswith(f"agree on {found.agreement:.1%} of 5 samples on this this-isa machine")


def test_weights_of_7_bits_give_the_same_answer_fused_and_unfused(tmp_path: Path) -> None:
    """One step of the output's scale at most, on any machine: that is what the bound promises."""
    found = backend.saturation(qdq_net(tmp_path / "m.onnx", 63), inputs(8), MODEL_INPUTS, "avx2", "any")
    assert found.max_abs_error <= 0.05 * 1.01


def test_the_exact_session_is_numpys_answer(tmp_path: Path) -> None:
    """Unfused, the Q/DQ file is float arithmetic between roundings; the weights are full range on purpose."""
    artifact = qdq_net(tmp_path / "m.onnx", 127)
    weight = numpy_helper.to_array(onnx.load(artifact.path).graph.initializer[0]).astype(np.float32) * 0.01
    x = inputs(2)[0]
    stored = (np.clip(np.rint(x / np.float32(0.02)) + 128, 0, 255) - 128) * np.float32(0.02)
    padded = np.pad(stored, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    conv = np.einsum("nchwij,ocij->nohw", windows, weight)

    def rounded(values: np.ndarray) -> np.ndarray:
        return (np.clip(np.rint(values / np.float32(0.05)) + 128, 0, 255) - 128) * np.float32(0.05)

    wanted = rounded(rounded(conv).mean((2, 3)))
    got = Predictor(backend.open_session(artifact.path, exact=True), artifact, MODEL_INPUTS)(x)
    np.testing.assert_allclose(got, wanted, atol=0.0501)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"is not a model that ONNX Runtime .* loads") as caught:
        backend.open_session(str(tmp_path / "m.onnx"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("exact", [True, False])
def test_only_the_exact_session_runs_the_graph_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    """On a machine whose kernels do not saturate both answer the same: only the option tells them apart."""
    asked: list[dict[str, Any]] = []
    real = backend.backend.open

    def open_(path: str, threads: int, options: dict[str, Any]) -> Any:
        asked.append(options)
        return real(path, threads, options)

    monkeypatch.setattr(backend.backend, "open", open_)
    backend.open_session(qdq_net(tmp_path / "m.onnx", 63).path, exact=exact)
    assert asked == [{"optimize": not exact}]
