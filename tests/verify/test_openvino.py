"""The OpenVINO back end on tiny files made by hand: what it counts is what ONNX Runtime's graph counts, by its own kernels."""

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import float_net, half_net, qdq_net

from edgekit.errors import VerificationError
from edgekit.verify.backends import onnxruntime as reference

pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install openvino")
from edgekit.verify.backends import openvino as backend


def test_an_int8_file_that_runs_in_int8(tmp_path: Path) -> None:
    artifact = qdq_net(tmp_path / "m.onnx", 63)
    lint, other = backend.lint(artifact), reference.lint(artifact)
    assert lint.passed and lint.called == "int8", lint.findings
    assert lint.share == 1.0 and lint.weight_share == other.weight_share
    assert [row.macs for row in lint.work] == [row.macs for row in other.work]
    assert {row.dtype for row in lint.work} == {"uint8"}


def test_a_float_file_that_calls_itself_int8(tmp_path: Path) -> None:
    lint = backend.lint(float_net(tmp_path / "m.onnx", "int8"))
    assert not lint.passed and "run in int8: the file is not what it is called" in lint.findings[0]


def test_float_layers_compute_in_float32(tmp_path: Path) -> None:
    lint = backend.lint(float_net(tmp_path / "m.onnx"))
    assert lint.passed and lint.share == 1.0
    assert {row.dtype for row in lint.work} == {"float32"}


def test_float16_is_a_precision_of_storage(tmp_path: Path) -> None:
    assert backend.lint(half_net(tmp_path / "m.onnx", 1.0)).passed
    assert (
        backend.lint(half_net(tmp_path / "n.onnx", 0.5)).findings
        == reference.lint(half_net(tmp_path / "n.onnx", 0.5)).findings
    )


def test_the_same_answers_as_onnx_runtime(tmp_path: Path) -> None:
    path = str(float_net(tmp_path / "m.onnx").path)
    x = {"x": np.random.default_rng(2).normal(size=(1, 4, 6, 6)).astype(np.float32)}
    found, wanted = (each.open_session(path).run(x)["y"] for each in (backend, reference))
    assert np.allclose(found, wanted, atol=1e-5)


def test_there_is_no_unfused_run(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="without its fused integer kernels"):
        backend.open_session(qdq_net(tmp_path / "m.onnx", 63).path, exact=True)


def test_what_it_does_not_take_is_one_sentence(tmp_path: Path) -> None:
    artifact = float_net(tmp_path / "m.onnx")
    Path(artifact.path).write_bytes(Path(artifact.path).read_bytes()[:200])
    with pytest.raises(Exception, match=r"OpenVINO does not take|parsing"):
        backend.lint(artifact)
