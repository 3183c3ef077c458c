"""Each backend against numpy on a real model, in this process, and its errors."""

import builtins
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner import backends, golden
from edgekit_runner.backends import coreml, litert, onnxruntime
from edgekit_runner.errors import MissingRuntime, UnsupportedPlatform, UserError
from edgekit_runner.quantize import as_feed, dequantize
from runner_models import tflite_reference, write_onnx


@pytest.mark.parametrize("optimize", [True, False])
def test_onnx_round_trip(onnx_model: Path, onnx_golden: Path, optimize: bool) -> None:
    session = onnxruntime.open(str(onnx_model), 1, {"optimize": optimize})
    assert [(i.name, i.shape, i.dtype, i.scale) for i in session.inputs] == [("x", (1, 64), "float32", None)]
    expected = golden.load(str(onnx_golden))
    found = session.run({"x": expected.inputs[0]})["r0"]
    assert np.allclose(found, expected.outputs[0], atol=1e-5)
    assert session.placement()["providers"] == ["CPUExecutionProvider"]


def test_onnx_free_dimension_is_minus_one_and_runs(tmp_path: Path) -> None:
    weight = write_onnx(tmp_path / "free.onnx", batch="n")
    session = onnxruntime.open(str(tmp_path / "free.onnx"), 1, {})
    assert session.inputs[0].shape == (-1, 64)
    x = np.ones((3, 64), np.float32)
    assert np.allclose(session.run({"x": x})["r0"], np.maximum(x @ weight, 0), atol=1e-5)


@pytest.mark.parametrize("xnnpack", [True, False])
def test_litert_int8_round_trip(tflite_model: Path, xnnpack: bool) -> None:
    session = litert.open(str(tflite_model), 1, {"xnnpack": xnnpack})
    (x_info,), (y_info,) = session.inputs, session.outputs
    assert (x_info.shape, x_info.dtype, x_info.zero_point) == ((1, 64), "int8", 3)
    assert x_info.scale == pytest.approx(0.02) and y_info.scale == pytest.approx(0.05)
    real = np.random.default_rng(5).standard_normal((1, 64)).astype(np.float32)
    raw = session.run({"x": as_feed(real, x_info)})["y"]
    assert raw.dtype == np.int8
    assert np.abs(dequantize(raw, y_info) - tflite_reference(real)).max() <= 0.05
    assert (session.placement()["delegate_nodes_count"] > 0) == xnnpack


def test_results_are_not_overwritten_by_the_next_run(tflite_model: Path) -> None:
    session = litert.open(str(tflite_model), 1, {})
    first = session.run({"x": np.full((1, 64), 10, np.int8)})["y"]
    kept = first.copy()
    session.run({"x": np.full((1, 64), -90, np.int8)})
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("module", [onnxruntime, litert])
@pytest.mark.parametrize("cut", [0.5, 0.0])
def test_a_file_that_is_no_model(
    module: Any, cut: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue("onnx_model" if module is onnxruntime else "tflite_model")
    data = source.read_bytes()
    path = tmp_path / f"bad{module.SUFFIX}"
    path.write_bytes(data[: int(len(data) * cut)] or b"not a model at all" * 9)
    with pytest.raises(UserError, match="is not a model"):
        module.open(str(path), 1, {})


@pytest.mark.parametrize("module", [onnxruntime, litert, coreml])
def test_unknown_option_lists_the_allowed(module: Any) -> None:
    with pytest.raises(UserError, match=module.OPTIONS[0]):
        module.open("m", 1, {"turbo": True})


def test_text_tensors_are_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    sides = [helper.make_tensor_value_info(name, TensorProto.STRING, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", sides[:1], sides[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "text.onnx")
    with pytest.raises(UserError, match=r"tensor\(string\)"):
        onnxruntime.open(str(tmp_path / "text.onnx"), 1, {})


def test_option_of_a_wrong_type(onnx_model: Path) -> None:
    with pytest.raises(UserError, match="true, false"):
        onnxruntime.open(str(onnx_model), 1, {"optimize": "yes"})


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML exists here")
def test_core_ml_off_macos() -> None:
    with pytest.raises(UnsupportedPlatform, match="Core ML runs on macOS only"):
        coreml.open("m.mlpackage", 1, {})


@pytest.mark.parametrize(("module", "name"), [(onnxruntime, "onnxruntime"), (litert, "ai_edge_litert")])
def test_a_missing_runtime_gives_the_pip_line(
    module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def without(wanted: str, *rest: Any, **more: Any) -> Any:
        if wanted.split(".")[0] == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(wanted, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingRuntime, match=f"pip install {module.DISTRIBUTION}"):
        module.load_runtime()


def test_backends_are_found_by_suffix_and_by_format() -> None:
    assert backends.names() == ("coreml", "litert", "onnxruntime")
    assert backends.find("a/B.ONNX").FORMAT == "onnx"
    assert backends.find("a/b.bin", "tflite") is litert
    assert backends.find("a/b.mlpackage") is coreml
    with pytest.raises(UserError, match=r"\.onnx"):
        backends.find("a/b.pt")
    with pytest.raises(UserError, match="tflite"):
        backends.find("a/b.onnx", "torch")
