"""The Core ML exporter, proven by executing the package with edgekit's own interpreter. Conversion runs in a child."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import own_process
import pytest

from edgekit.verify.graphs.coreml import read
from edgekit.verify.mil.facts import op_counts
from edgekit.verify.mil.interpreter import Interpreter
from edgekit.verify.mil.package import Package

pytestmark = pytest.mark.long

PRECISIONS = ("float32", "float16", "int8")


# ------------------------------------------------------------------------------------------------ the tests
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("coreml")
    own_process.found_by(__file__, place, "coreml")
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "found.json").read_text())


def package(folder: Path, name: str) -> Package:
    return Package(folder / f"{name}.mlpackage")


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("float16", 2e-2), ("int8", 6e-2)])
def test_the_package_computes_the_program(folder: Path, precision: str, tolerance: float) -> None:
    data = np.load(folder / f"{precision}.npz")
    mode = "float32" if precision == "float32" else "float16"
    got = Interpreter(package(folder, precision), precision=mode).run({"photo": data["input"]})
    assert list(got) == ["output_0"]
    np.testing.assert_allclose(got["output_0"], data["output"], atol=tolerance * np.abs(data["output"]).max())


def test_float16_computes_in_float16(folder: Path) -> None:
    counts = op_counts(package(folder, "float16"))
    assert counts["conv", "float16"] == 2 and counts["linear", "float16"] == 1
    assert op_counts(package(folder, "float32"))["conv", "float32"] == 2


def test_int8_stores_integers(folder: Path) -> None:
    kinds = Counter(op for op, _ in op_counts(package(folder, "int8")).elements())
    kinds.update(op.type for op in package(folder, "int8").operations if op.type.startswith("constexpr"))
    assert kinds["quantize"] >= 3
    assert kinds["constexpr_affine_dequantize"] + kinds["constexpr_blockwise_shift_scale"] >= 3


def test_layers_between_quantized_tensors_are_work_in_integers(folder: Path) -> None:
    found = {each: read(str(package(folder, each).path)) for each in ("int8", "float16")}
    dtypes = {each: {op.dtype for op in graph.operators if op.macs} for each, graph in found.items()}
    assert dtypes == {"int8": {"int8"}, "float16": {"float16"}}
    assert "int8" in found["int8"].weight_bytes and "int8" not in found["float16"].weight_bytes


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_artifact_describes_the_package(found: dict[str, Any], precision: str) -> None:
    artifact = found[precision]
    assert (artifact["format"], artifact["precision"], artifact["layout"]) == ("coreml", precision, "NCHW")
    assert artifact["inputs"][0] == {
        "name": "photo", "shape": [1, 3, 12, 12], "dtype": "float32", "scale": None, "zero_point": None,
        "batch_axis": 0, "free": {},
    }  # fmt: skip
    assert artifact["outputs"][0]["name"] == "output_0" and artifact["doubts"] == []
    assert artifact["size_bytes"] > 1000 and "coremltools" in artifact["toolchain"]


def test_the_same_program_has_the_same_hash_and_leaves_nothing_beside_it(
    found: dict[str, Any], folder: Path
) -> None:
    assert found["again"] == found["float16"]["sha256"]
    assert sorted(p.name for p in (folder / "again").iterdir()) == ["m.mlpackage"]


def test_the_same_program_is_the_same_package_byte_for_byte(folder: Path) -> None:
    """Also in another process and on another day: neither a date nor a random key or order is in it."""
    packages = (folder / "float16.mlpackage", folder / "again" / "m.mlpackage")
    first, second = (
        {p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        for place in packages
    )
    assert first == second
    assert sorted(first) == [
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
        "Manifest.json",
    ]
    assert b"conversion_date" not in first["Data/com.apple.CoreML/model.mlmodel"]


def test_sizes_fall_with_the_precision(found: dict[str, Any]) -> None:
    sizes = [found[name]["size_bytes"] for name in PRECISIONS]
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2]


def test_alias_and_recurrent_cells_convert(folder: Path, found: dict[str, Any]) -> None:
    assert found["alias"] == "ok" and found["lstm"] == "ok"
    assert found["word_input"] == "state_", "a word of Core ML's language, which would be renamed silently"
    for name in ("alias", "word", "lstm"):
        data = np.load(folder / f"{name}.npz")
        got = Interpreter(package(folder, name), precision="float32").run(
            {found[f"{name}_input"]: data["input"]}
        )
        np.testing.assert_allclose(got["output_0"], data["output"], atol=1e-4)


def test_what_is_kept_in_float32_is_found_whatever_coremltools_calls_it(
    folder: Path, found: dict[str, Any]
) -> None:
    counts = op_counts(package(folder, "mask"))
    assert {name for name, dtype in counts if dtype == "float32"} >= {"mul", "clip", "add", "softmax"}
    assert counts["sub", "float16"] == 1
    data = np.load(folder / "mask.npz")
    got = Interpreter(package(folder, "mask"), precision="float16").run({"keep": data["input"]})["output_0"]
    np.testing.assert_allclose(got, data["output"], atol=1e-3)


def test_a_constant_above_the_range_of_float16_is_no_infinity(folder: Path, found: dict[str, Any]) -> None:
    data = np.load(folder / "large.npz")
    got = Interpreter(package(folder, "large"), precision="float16").run({"input": data["input"]})["output_0"]
    assert np.isfinite(got).all() or found["large_doubts"]


def test_errors_name_the_operator_and_what_is_allowed(found: dict[str, Any]) -> None:
    assert found["unknown"][0] == "ConversionError"
    for part in ("bessel_j0", "1 (Bessel)"):
        assert part in found["unknown"][1]
    assert found["ios"][1].startswith("deployment.min_ios is 9; ML programs exist for iOS 15, 16, 17")
    assert found["double"][1] == "x is float64; Core ML takes float32, int32, int64, bool, uint8, int8"


# ------------------------------------------------------------------------------------------------ the child
def child(folder: Path) -> dict[str, Any]:
    """Converts every network and keeps what torch computed."""
    import msgspec
    import torch
    import torchvision  # noqa: F401
    from torch import nn

    from edgekit.export import coreml
    from edgekit.records import FloatLayer

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.fc = (
                nn.Conv2d(3, 16, 3, 2),
                nn.Conv2d(16, 64, 3, padding=1),
                nn.Linear(64, 800),
            )

        def forward(self, photo: torch.Tensor) -> torch.Tensor:
            return self.fc(torch.relu(self.b(torch.relu(self.a(photo)))).mean((2, 3)))

    class Alias(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.aten.alias(x) * 2.0

    class Word(nn.Module):
        def forward(self, state: torch.Tensor) -> torch.Tensor:
            return state * 2.0

    class Mask(nn.Module):
        """A masked row: -3e38, which coremltools clips by an operator of another name."""

        def forward(self, keep: torch.Tensor) -> torch.Tensor:
            lowest = ((1 - keep) * -3e38).clamp(min=-3e38)
            return torch.softmax(keep + lowest, -1)

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 5, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x)[0]

    class Bessel(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    torch.manual_seed(0)
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    photo = torch.randn(1, 3, 12, 12)
    for precision in PRECISIONS:
        case = prepare(folder, precision, Net().eval(), photo)
        found[precision] = msgspec.to_builtins(
            coreml.export(case, target(None), folder / f"{precision}.mlpackage")
        )
        if precision == "float16":
            for _ in range(2):  # the second replaces the first
                found["again"] = coreml.export(case, target(17), folder / "again" / "m.mlpackage").sha256
    nets = (("alias", Alias(), (2, 3)), ("word", Word(), (2, 3)), ("lstm", Cell(), (1, 3, 4)))
    for name, model, shape in nets:
        x = torch.randn(shape)
        artifact = coreml.export(
            prepare(folder, "float32", model, x, name), target(None), folder / f"{name}.mlpackage"
        )
        found[name], found[f"{name}_input"] = "ok", artifact.inputs[0].name
    case = prepare(folder, "float16", Mask(), torch.tensor([[1.0, 0, 1], [0, 0, 0]]), "mask")
    kept = tuple(
        FloatLayer(name=name, origin=name, macs_ratio=None, reason="large")
        for name in ("mul", "clamp", "add", "softmax")
    )
    coreml.export(msgspec.structs.replace(case, float_layers=kept), target(None), folder / "mask.mlpackage")
    large = nn.Sequential(nn.Linear(4, 4))
    with torch.no_grad():
        large[0].weight.fill_(1e5)
    case = prepare(folder, "float16", large, torch.full((1, 4), 1e-3), "large")
    found["large_doubts"] = coreml.export(case, target(None), folder / "large.mlpackage").doubts
    unknown = nn.Sequential(nn.Linear(4, 4), Bessel())
    found["unknown"] = failure(prepare(folder, "float16", unknown, torch.randn(1, 4), "unknown"), 17)
    found["ios"] = failure(case, 9)
    found["double"] = failure(prepare(folder, "float32", Alias(), torch.randn(2, 2).double(), "double"), 17)
    return found


def target(ios: int | None) -> Any:
    return SimpleNamespace(deployment=SimpleNamespace(min_ios=ios))


def failure(case: Any, ios: int) -> tuple[str, str]:
    from edgekit.errors import EdgekitError
    from edgekit.export import coreml

    out = Path(case.program).with_name("failed") / "m.mlpackage"
    try:
        coreml.export(case, target(ios), out)
    except EdgekitError as error:
        assert not out.exists()
        return type(error).__name__, str(error)
    return "no error", ""


def prepare(folder: Path, precision: str, model: Any, x: Any, name: str = "") -> Any:
    """A candidate on disk, and its input and output as an .npz."""
    import torch

    from edgekit.engine.specs import Context
    from edgekit.quant import program as programs
    from edgekit.records import Candidate, Quant, Recipe
    from edgekit.techniques import ptq

    name = name or precision
    programs.save(torch.export.export(model.eval(), (x,)), folder / f"{name}.pt2")
    recipe = Recipe(name="t", precision=precision, steps=())  # type: ignore[arg-type]
    quant = Quant(
        activation_dtype="int8", weight_bits=8, granularity="per_channel", symmetric_activations=False
    )
    case = Candidate(program=str(folder / f"{name}.pt2"), recipe=recipe, quant=quant)
    if precision == "int8":
        task: Any = SimpleNamespace(calibration=[x])
        case = ptq.apply(case, task, ptq.Options(), Context(work=str(folder / "int8")))
    with torch.no_grad():
        output = programs.load(case.program).module()(x)
    np.savez(folder / f"{name}.npz", input=x.numpy(), output=output.numpy())
    return case
