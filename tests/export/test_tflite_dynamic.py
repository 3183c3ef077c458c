"""Dynamic quantization of TFLite files: hybrid layers, float borders, no convolution touched, the same bytes.

As in test_tflite.py the converter stays out of the test process: `child` here makes all files in one
child and writes what it found as JSON.
"""

import sys
from pathlib import Path
from typing import Any

import own_process
import pytest

pytestmark = pytest.mark.long

NETS = ("LSTM", "GRU", "attention", "convolution")
TWICE = ("attention", "convolution")  # the cells take seconds to unroll


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return own_process.found_by(__file__, tmp_path_factory.mktemp("dynamic"), "tflite")


@pytest.mark.parametrize("net", NETS)
def test_the_answers_are_close_to_torch(found: dict[str, Any], net: str) -> None:
    assert 0 < found[net]["error_ratio"] < 0.05


@pytest.mark.parametrize("net", NETS)
def test_layers_are_hybrid_and_the_lint_agrees(found: dict[str, Any], net: str) -> None:
    lint = found[net]["lint"]
    layers = {op for op in lint["ops"] if op.startswith("FULLY_CONNECTED")}
    assert layers == {"FULLY_CONNECTED:hybrid"}
    assert lint["passed"], lint["findings"]


@pytest.mark.parametrize("net", ["LSTM", "GRU"])
def test_cells_are_unrolled_into_layers(found: dict[str, Any], net: str) -> None:
    assert found[net]["lint"]["ops"]["FULLY_CONNECTED:hybrid"] >= 2 * 8, "two directions, eight steps"
    assert found[net]["float_layers"] == []


def test_a_convolution_stays_float_and_is_declared(found: dict[str, Any]) -> None:
    case = found["convolution"]
    assert case["float_layers"] == ["conv (Conv1d)"]
    assert any(op.endswith("CONV_2D:float32->float32") for op in case["lint"]["ops"]), case["lint"]["ops"]


@pytest.mark.parametrize("net", NETS)
def test_float_in_and_out_no_doubts_and_smaller(found: dict[str, Any], net: str) -> None:
    case = found[net]
    assert case["outputs"] == ["float32"] and case["doubts"] == []
    assert case["size_bytes"] < case["float_size_bytes"]


@pytest.mark.parametrize("net", TWICE)
def test_written_twice_it_is_the_same_bytes(found: dict[str, Any], net: str) -> None:
    assert found[net]["same_bytes"]


# ------------------------------------------------------------------------------------------------ the child
def child(folder: Path) -> dict[str, Any]:
    import torch
    import torchvision  # noqa: F401

    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parents[1] / "techniques"))
    return {name: convert(name, folder / name) for name in NETS}


def convert(name: str, folder: Path) -> dict[str, Any]:
    import msgspec
    import numpy as np
    import test_dynamic as cases
    import torch

    from edgekit.export import tflite
    from edgekit.profile.reading import load_target
    from edgekit.records import Quant, Recipe, TensorSpec
    from edgekit.verify.backends import litert as backend
    from edgekit.verify.predict import Predictor

    folder.mkdir()
    target = load_target("tflite-int8")
    quant = Quant(
        activation_dtype="int8", weight_bits=8, granularity="per_channel", symmetric_activations=False
    )
    model, x, candidate = cases.saved(name, folder, quant)
    made = cases.apply(candidate, "tflite-int8")
    artifact = tflite.export(made, target, folder / "a.tflite")
    artifact = msgspec.structs.replace(artifact, scheme="dynamic", float_layers=len(made.float_layers))
    full = msgspec.structs.replace(candidate, recipe=Recipe(name="float32", precision="float32", steps=()))
    inputs = (TensorSpec(name="x", shape=tuple(x.shape), dtype=str(x.dtype).removeprefix("torch.")),)
    (got,) = Predictor(backend.open_session(artifact.path), artifact, inputs).run([x.numpy()])
    with torch.no_grad():
        want = model(x).numpy()
    return {
        "error_ratio": float(np.abs(got - want).max() / np.abs(want).max()),
        "lint": msgspec.to_builtins(backend.lint(artifact)),
        "float_layers": [layer.origin for layer in made.float_layers],
        "outputs": [spec.dtype for spec in artifact.outputs],
        "doubts": list(artifact.doubts),
        "size_bytes": artifact.size_bytes,
        "float_size_bytes": tflite.export(full, target, folder / "float.tflite").size_bytes,
        "same_bytes": name in TWICE
        and tflite.export(made, target, folder / "b.tflite").sha256 == artifact.sha256,
    }
