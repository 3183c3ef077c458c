"""The OpenVINO backend on tiny files: the same answers as numpy, in float32, and its telemetry never imported."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from edgekit_runner import api
from edgekit_runner.errors import UserError
from edgekit_runner.golden import archive
from runner_models import RUNNER, write_onnx, write_onnx_int8

pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install openvino")
from edgekit_runner.backends import onnxruntime, openvino


def test_round_trip(onnx_model: Path, onnx_golden: Path) -> None:
    session = openvino.open(str(onnx_model), 1, {})
    assert [(i.name, i.shape, i.dtype) for i in (*session.inputs, *session.outputs)] == [
        ("x", (1, 64), "float32"),
        ("r0", (1, 64), "float32"),
    ]
    expected = archive.load(str(onnx_golden))
    first = session.run({"x": expected.inputs[0]})["r0"]
    kept = first.copy()
    session.run({"x": expected.inputs[0] * 2})
    assert np.array_equal(first, kept)  # not overwritten by the next run
    assert np.allclose(kept, expected.outputs[0], atol=1e-5)
    assert session.placement()["nodes"]["CPU"] > 0 and session.runtime_version[0].isdigit()


def test_what_was_fed_lives_as_long_as_it_is_read(onnx_model: Path) -> None:
    session = openvino.open(str(onnx_model), 1, {})
    array = np.ones((1, 64), np.float32)
    alive = weakref.ref(array)
    session.feed({"x": array})
    del array
    gc.collect()
    assert alive() is not None, "the runtime reads memory that was given back"
    session.feed({"x": np.zeros((1, 64), np.float32)})
    gc.collect()
    assert alive() is None


def test_a_free_dimension_is_minus_one_and_runs(tmp_path: Path) -> None:
    weight = write_onnx(tmp_path / "free.onnx", batch="n")
    session = openvino.open(str(tmp_path / "free.onnx"), 1, {})
    assert session.inputs[0].shape == (-1, 64)
    for samples in (3, 1):
        x = np.ones((samples, 64), np.float32)
        assert np.allclose(session.run({"x": x})["r0"], np.maximum(x @ weight, 0), atol=1e-5)


def test_float_stays_float32_unless_asked(onnx_model: Path) -> None:
    assert openvino.settings(1, {})["INFERENCE_PRECISION_HINT"] == "f32"
    assert openvino.settings(1, {"precision": "bf16"})["INFERENCE_PRECISION_HINT"] == "bf16"
    with pytest.raises(UserError, match=r"'precision' is 'int4'; allowed: f32, bf16, f16"):
        openvino.open(str(onnx_model), 1, {"precision": "int4"})


def test_operators_of_a_profile(onnx_model: Path) -> None:
    x = np.ones((1, 64), np.float32)
    calls = openvino.profile(str(onnx_model), 1, {}, {"x": x}, 3)
    products = [call for call in calls if call.op in ("FullyConnected", "MatMul")]
    assert len(products) == 3 and all(call.where == "CPU" and call.seconds > 0 for call in products)


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_file_that_is_no_model(share: float, onnx_model: Path, tmp_path: Path) -> None:
    data = onnx_model.read_bytes()
    (tmp_path / "bad.onnx").write_bytes(data[: int(len(data) * share)] or b"not a model at all" * 9)
    with pytest.raises(UserError, match=r"is not a model that OpenVINO [0-9.]+ loads"):
        openvino.open(str(tmp_path / "bad.onnx"), 1, {})


def test_one_file_in_two_runtimes_in_turns(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_onnx_int8(path)
    x = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    found = onnxruntime.open(str(path), 1, {}).run({"x": x})["y"]
    np.savez(tmp_path / "golden.npz", input_0=x, output_0=found)
    pair = {
        "artifact": str(path),
        "baseline": str(path),
        "golden": str(tmp_path / "golden.npz"),
        "golden_atol": 0.11,
    }
    pair |= {"baseline_golden": pair["golden"], "baseline_golden_atol": 0.11, "runtime": "openvino"}
    record = api.compare(
        {**pair, "protocol": "quick", "rounds_count": 4, "warmup_s": 0.01, "timeout_s": 60.0}
    )
    assert record["status"] == "ok", record["reason"]
    names = [(record[f"{whose}_runtime"] or {})["name"] for whose in ("artifact", "baseline")]
    assert names == ["OpenVINO", "ONNX Runtime"]


def test_its_telemetry_is_not_imported() -> None:
    code = f"import sys; sys.path.insert(0, {str(RUNNER)!r}); from edgekit_runner.backends import openvino as b; "
    code += "b.load_runtime(); print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
