"""The TFLite exporter on tiny networks: layout, precision, arithmetic, errors.

torch, litert and tensorflow stay out of the test process: `child` here builds and converts all
networks in one child and writes what it found as JSON.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import old_runtimes
import own_process
import pytest

from edgekit.profile.reading import load_target

pytestmark = pytest.mark.long

NETS = ("same", "odd", "dense", "image")
PRECISIONS = ("float32", "float16", "int8")


# ------------------------------------------------------------------------------------------------ the tests
@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return own_process.found_by(__file__, tmp_path_factory.mktemp("tflite"), "tflite")


@pytest.mark.parametrize("net", NETS)
def test_float32_equals_torch(found: dict[str, Any], net: str) -> None:
    assert found[net]["float32"]["error"] < 1e-4


@pytest.mark.parametrize("net", NETS)
def test_float16_is_smaller_and_close(found: dict[str, Any], net: str) -> None:
    half, full = found[net]["float16"], found[net]["float32"]
    assert half["error"] < 1e-2
    assert half["artifact"]["size_bytes"] < full["artifact"]["size_bytes"]
    assert {spec["dtype"] for spec in half["artifact"]["inputs"] + half["artifact"]["outputs"]} == {"float32"}


def test_float16_halves_the_weights(found: dict[str, Any]) -> None:
    sizes = {name: found["dense"][name]["artifact"]["size_bytes"] for name in PRECISIONS}
    assert sizes["float16"] < 0.6 * sizes["float32"]
    assert sizes["int8"] < 0.4 * sizes["float32"]


@pytest.mark.parametrize("net", NETS)
def test_int8_is_the_arithmetic_of_the_quantized_graph(found: dict[str, Any], net: str) -> None:
    assert found[net]["int8"]["steps"] <= 1.01


@pytest.mark.parametrize("net", NETS)
def test_int8_file_holds_no_float(found: dict[str, Any], net: str) -> None:
    case = found[net]["int8"]
    assert {name.partition(":")[2] for name in case["ops"]} == {"int8->int8"}
    specs = case["artifact"]["inputs"] + case["artifact"]["outputs"]
    assert [spec["dtype"] for spec in specs] == ["int8", "int8"]
    assert all(spec["scale"] > 0 and -128 <= spec["zero_point"] <= 127 for spec in specs)
    assert case["artifact"]["doubts"] == []


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("net", NETS)
def test_no_transposes(found: dict[str, Any], net: str, precision: str) -> None:
    assert not any("TRANSPOSE" in name for name in found[net][precision]["ops"])


def test_a_same_pad_becomes_the_padding_of_its_convolution(found: dict[str, Any]) -> None:
    assert found["same"]["int8"]["ops"] == {
        "CONV_2D:int8->int8": 2,
        "DEPTHWISE_CONV_2D:int8->int8": 1,
        "ADD:int8->int8": 1,
        "MAX_POOL_2D:int8->int8": 1,
        "RESHAPE:int8->int8": 1,
        "FULLY_CONNECTED:int8->int8": 1,
    }


def test_any_other_pad_stays_an_int8_pad(found: dict[str, Any]) -> None:
    assert found["odd"]["int8"]["ops"]["PAD:int8->int8"] == 3


def test_images_are_channels_last(found: dict[str, Any]) -> None:
    artifact = found["image"]["int8"]["artifact"]
    assert artifact["layout"] == "NHWC"
    assert artifact["inputs"][0]["shape"] == [1, 12, 8, 3]
    assert artifact["outputs"][0]["shape"] == [1, 6, 4, 5]


def test_vectors_stay_as_the_model_has_them(found: dict[str, Any]) -> None:
    artifact = found["dense"]["float32"]["artifact"]
    assert artifact["layout"] == "as the model"
    assert artifact["inputs"][0]["shape"] == [1, 64]


def test_the_artifact_describes_the_file(found: dict[str, Any]) -> None:
    artifact = found["same"]["int8"]["artifact"]
    assert artifact["format"] == "tflite"
    assert artifact["precision"] == "int8"
    assert len(artifact["sha256"]) == 64
    assert "litert-torch" in artifact["toolchain"]
    assert [spec["name"] for spec in (*artifact["inputs"], *artifact["outputs"])] == ["x", "output_0"]


def test_an_operator_without_lowering_is_named(found: dict[str, Any]) -> None:
    kind, message = found["unknown"]
    assert kind == "ConversionError"
    for part in ("aten.special_bessel_j0.default", "head", "Bessel", "test_tflite.py:"):
        assert part in message


def test_a_decomposed_operator_is_named_with_its_module(found: dict[str, Any]) -> None:
    kind, message = found["decomposed"]
    assert kind == "ConversionError"
    for part in ("aten._linalg_eigh.default", "head", "Eigen"):
        assert part in message


def test_the_layout_rule_is_gone_after_a_conversion(found: dict[str, Any]) -> None:
    assert found["rule"] == {"inside": True, "after": False, "pads": [5, 6, 1, 2, 3, 4, 0, 0]}


# ------------------------------------------------------------------------------------------------ the oldest runtime named
@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return old_runtimes.beside(tmp_path_factory.mktemp("oldest"), old_runtimes.LITERT)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("net", NETS)
def test_the_oldest_runtime_that_the_profile_names_answers_the_same(
    found: dict[str, Any], oldest: Path, tmp_path: Path, net: str, precision: str
) -> None:
    assert load_target("tflite-int8").deployment.min_runtime == "litert 1.0"
    path = found[net][precision]["artifact"]["path"]
    version, old = old_runtimes.answers(old_runtimes.IN_LITERT, path, tmp_path / "old.npy", old=oldest)
    _, present = old_runtimes.answers(old_runtimes.IN_LITERT, path, tmp_path / "present.npy")
    assert version == "1.0.0"
    assert np.abs(old - present).max() <= (1 if precision == "int8" else 1e-4)


# ------------------------------------------------------------------------------------------------ the child
def child(folder: Path) -> dict[str, Any]:
    """Builds, quantizes, converts and runs every network."""
    import torch
    import torchvision  # noqa: F401

    from edgekit.export import _tflite_layout

    torch.manual_seed(0)
    torch.set_num_threads(1)
    models, failing = networks()
    found: dict[str, Any] = {name: convert(folder / name, *models[name]) for name in NETS}
    found |= {name: failure(folder / name, model) for name, model in failing.items()}
    with _tflite_layout.pads_join_nhwc():
        inside = _tflite_layout.PAD in _tflite_layout.rewriters
    after = _tflite_layout.PAD in _tflite_layout.rewriters
    found["rule"] = {"inside": inside, "after": after, "pads": _tflite_layout.nhwc_pads([1, 2, 3, 4, 5, 6])}
    return found


def networks() -> tuple[dict[str, tuple[Any, tuple[int, ...]]], dict[str, Any]]:
    import torch
    from torch import nn
    from torch.nn.functional import pad

    class Same(nn.Module):
        """Stride-2 "same" pads as TensorFlow adds them, a residual add, pooling and a classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.wide = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 5, 2, groups=8)
            self.point, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(32, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.stem(pad(x, [0, 1, 0, 1])))
            x = torch.relu(self.wide(pad(x, [1, 2, 1, 2])))
            return self.fc(nn.functional.max_pool2d(x + self.point(x), 2).flatten(1))

    class Odd(nn.Module):
        """Pads that TensorFlow's SAME would not add: two asymmetric, and padding=1 at stride 2."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, groups=8)
            self.c, self.fc = nn.Conv2d(8, 8, 3, 2, padding=1), nn.Linear(8, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.a(pad(x, [1, 0, 1, 0])))
            x = torch.relu(self.c(self.b(pad(x, [2, 0, 0, 2]))))
            return self.fc(x.mean((2, 3)))

    class Bessel(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    class Eigen(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(x.mean(1))

    def headed(head: nn.Module) -> nn.Module:
        model = nn.Sequential()
        model.add_module("conv", nn.Conv2d(3, 4, 3))
        model.add_module("head", head)
        return model

    dense = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 5))
    image = nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))
    models = {
        "same": (Same(), (3, 16, 16)),
        "odd": (Odd(), (3, 16, 16)),
        "dense": (dense, (64,)),
        "image": (image, (3, 12, 8)),
    }
    return models, {"unknown": headed(Bessel()), "decomposed": headed(Eigen())}


def convert(folder: Path, model: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Per precision: the artifact, its operators, the largest error against torch, in output steps for int8."""
    import msgspec
    import torch

    folder.mkdir()
    batches = [torch.randn(1, *shape) for _ in range(8)]
    program = torch.export.export(model.eval(), (batches[0],))
    quantized = quantize(program, batches)
    answers: dict[str, Any] = {}
    for precision in PRECISIONS:
        reference = quantized if precision == "int8" else program
        artifact = lower(folder, reference, precision)
        error = max(compare(artifact, reference, batch) for batch in batches)
        answers[precision] = {
            "artifact": msgspec.to_builtins(artifact),
            "ops": operators(artifact.path),
            "error": error,
            "steps": error / (artifact.outputs[0].scale or 1.0),
        }
    return answers


def quantize(program: Any, batches: list[Any]) -> Any:
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from edgekit.quant.prepare import prepare_graph
    from edgekit.quant.quantizer import ProfileQuantizer
    from edgekit.records import Quant

    quant = Quant(
        activation_dtype="int8", weight_bits=8, granularity="per_channel", symmetric_activations=False
    )
    model = prepare_pt2e(prepare_graph(program.module()), ProfileQuantizer(quant, "minmax"))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    return torch.export.export(convert_pt2e(model, fold_quantize=False), (batches[0],))


def lower(folder: Path, program: Any, precision: Any) -> Any:
    import torch

    from edgekit.export import tflite
    from edgekit.records import Candidate, Recipe

    folder.mkdir(exist_ok=True)
    path = folder / f"{precision}.pt2"
    torch.export.save(program, str(path))
    candidate = Candidate(program=str(path), recipe=Recipe(name=precision, precision=precision, steps=()))
    return tflite.export(candidate, None, folder / f"{precision}{tflite.SUFFIX}")  # type: ignore[arg-type]


def failure(folder: Path, model: Any) -> tuple[str, str]:
    import torch

    from edgekit.errors import EdgekitError

    program = torch.export.export(model.eval(), (torch.randn(1, 3, 10, 10),))
    try:
        lower(folder, program, "float32")
    except EdgekitError as error:
        return type(error).__name__, str(error)
    return "", ""


def compare(artifact: Any, program: Any, batch: Any) -> float:
    """Largest difference between the file, run by TFLite's own kernels, and the program, run by torch."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(artifact.path)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    source, sink = artifact.inputs[0], artifact.outputs[0]
    array = batch.numpy()
    if artifact.layout == "NHWC":
        array = array.transpose(0, 2, 3, 1)
    if source.scale:
        array = np.clip(np.round(array / source.scale) + source.zero_point, -128, 127)
    interpreter.set_tensor(entry["index"], np.ascontiguousarray(array, dtype=source.dtype))
    interpreter.invoke()
    output = interpreter.get_tensor(result["index"])
    if sink.scale:
        output = (output.astype(np.float32) - sink.zero_point) * sink.scale
    if output.ndim == 4:
        output = output.transpose(0, 3, 1, 2)
    return float(np.abs(output - program.module()(batch).detach().numpy()).max())


def operators(path: str) -> Counter[str]:
    """Counts of "OP:input dtype->output dtype", without a delegate."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    dtype = {tensor["index"]: tensor["dtype"].__name__ for tensor in interpreter.get_tensor_details()}
    return Counter(
        f"{op['op_name']}:{dtype[op['inputs'][0]]}->{dtype[op['outputs'][0]]}"
        for op in interpreter._get_ops_details()
    )
