"""A finished file changed for an app: Core ML that takes an image and names its answer, TFLite with other numbers at its doors."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import own_process
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT
from runner_models import tflite_reference, write_tflite

from edgekit.engine.specs import InterfaceSpec
from edgekit.package.image import tensor_of
from edgekit.records import Artifact, Preprocessing, TensorSpec
from edgekit.verify.mil.interpreter import Interpreter
from edgekit.verify.mil.package import Package

pytestmark = pytest.mark.long

LABELS = ("cat", "dög", 'a "bird"', "$x")
COLOR = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
CASES: dict[str, dict[str, Any]] = {
    "rgb": {"mean": (0.5,), "std": (0.5,)},
    "channels": COLOR,
    "bgr": {**COLOR, "color_order": "BGR"},
}


# ------------------------------------------------------------------------------------------------ Core ML
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("interface")
    own_process.found_by(__file__, place, "coreml")
    return place


@pytest.mark.parametrize("case", CASES)
def test_a_raw_image_gives_the_answer_of_the_normalised_one(folder: Path, case: str) -> None:
    asked = Preprocessing(**CASES[case])
    before, after = (Interpreter(Package(folder / f"{name}.mlpackage")) for name in ("plain", case))
    for image in np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8):
        colours = (
            image[..., ::-1] if asked.color_order == "BGR" else image
        )  # Core ML turns them by the buffer's colour space
        given = np.ascontiguousarray(colours.transpose(2, 0, 1)[None]).astype(np.float32)
        wanted = before.run({"photo": tensor_of(image, asked)})["output_0"]
        got = after.run({"photo": given})
        np.testing.assert_allclose(got["output_0"], wanted, atol=2e-3)
        assert int(got["classLabel"]) == int(wanted.argmax())
        shares = np.exp(wanted[0]) / np.exp(wanted[0]).sum()
        np.testing.assert_allclose(got["classLabel_probs"], shares, atol=2e-3)


@pytest.mark.parametrize("case", CASES)
def test_the_description_is_that_of_an_image_and_a_class(folder: Path, case: str) -> None:
    found = json.loads((folder / "found.json").read_text())[case]
    space = "BGR" if case == "bgr" else "RGB"
    assert found["input"] == ["photo", 8, 8, space]
    assert found["outputs"] == ["output_0", "classLabel", "classLabel_probs"]
    assert found["predicted"] == ["classLabel", "classLabel_probs"] and found["classes"] == list(LABELS)
    assert found["softmax"] == 1 and found["again"] == found["sha256"]


def test_what_cannot_be_a_classifier_is_said(folder: Path) -> None:
    found = json.loads((folder / "found.json").read_text())
    assert (
        "a classifier has one output of [1, 3] scores, one for each label; the outputs are output_0 [1, 4]"
        in found["refused"]
    )


def child(folder: Path) -> dict[str, Any]:
    import shutil
    from types import SimpleNamespace

    import torch
    import torchvision  # noqa: F401

    # isort: split
    from test_coreml import prepare
    from torch import nn

    from edgekit.errors import ConversionError
    from edgekit.export import coreml
    from edgekit.export._app_interface import change
    from edgekit.export._coreml_edit import edited

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.fc = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 4)

        def forward(self, photo: torch.Tensor) -> torch.Tensor:
            return self.fc(torch.relu(self.a(photo)).mean((2, 3)))

    torch.manual_seed(0)
    case = prepare(folder, "float16", Net().eval(), torch.randn(1, 3, 8, 8))
    plain = coreml.export(
        case, SimpleNamespace(deployment=SimpleNamespace(min_ios=16)), folder / "plain.mlpackage"
    )  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for name, options in CASES.items():
        made = []
        for place in (folder / f"{name}.mlpackage", folder / f"again-{name}.mlpackage"):
            shutil.copytree(plain.path, place)
            artifact = msgspec.structs.replace(plain, path=str(place))
            made.append(
                change(
                    InterfaceSpec(artifact=artifact, preprocessing=Preprocessing(**options), classes=LABELS)
                )
            )
        with edited(folder / f"{name}.mlpackage") as (description, _, block):
            image = description.input[0].type.imageType
            space = image.DESCRIPTOR.enum_types_by_name["ColorSpace"].values_by_number[image.colorSpace].name
            (classify,) = (op for op in block.operations if op.type == "classify")
            listed = classify.inputs["classes"].arguments[0].value.immediateValue.list.values
            found[name] = {
                "input": [description.input[0].name, image.height, image.width, space],
                "outputs": [each.name for each in description.output],
                "predicted": [description.predictedFeatureName, description.predictedProbabilitiesName],
                "classes": [value.immediateValue.tensor.strings.values[0] for value in listed],
                "softmax": sum(op.type == "softmax" for op in block.operations),
                "sha256": made[0].sha256,
                "again": made[1].sha256,
            }
    try:
        change(InterfaceSpec(artifact=plain, classes=LABELS[:3]))
    except ConversionError as error:
        found["refused"] = str(error)
    return found


# ------------------------------------------------------------------------------------------------ TFLite
@pytest.mark.parametrize("numbers", ["float32", "uint8", "int8"])
def test_an_int8_file_takes_and_gives_other_numbers(tmp_path: Path, numbers: Any) -> None:
    from edgekit.export._app_interface import change
    from edgekit.verify.predict import decode, encode

    path = tmp_path / "model.tflite"
    before = _int8_file(path)
    content = path.read_bytes()
    made = change(InterfaceSpec(artifact=before, numbers=numbers))
    assert (path.read_bytes() == content) == (numbers == "int8")
    assert {spec.dtype for spec in (*made.inputs, *made.outputs)} == {numbers}
    real = np.random.default_rng(0).uniform(-1, 1, (1, 64)).astype(np.float32)
    runner = LiteRT(str(path)).get_signature_runner()
    got = decode(runner(x=encode(real, made.inputs[0]))["y"], made.outputs[0])
    step = float(before.outputs[0].scale or 0)
    np.testing.assert_allclose(got, tflite_reference(real), atol=1.01 * step)
    detail = runner.get_input_details()["x"]
    assert detail["dtype"].__name__ == numbers
    if numbers == "uint8":
        assert (
            made.inputs[0].zero_point == (before.inputs[0].zero_point or 0) + 128 == detail["quantization"][1]
        )


def test_what_has_no_grid_is_refused(tmp_path: Path) -> None:
    from edgekit.errors import ConversionError
    from edgekit.export._app_interface import change

    path = tmp_path / "model.tflite"
    before = _int8_file(path)
    plain = msgspec.structs.replace(before.inputs[0], dtype="float32", scale=None, zero_point=None)
    content = path.read_bytes()
    with pytest.raises(
        ConversionError, match="x is float32 without a grid of 8 bits, so it cannot become uint8"
    ):
        change(InterfaceSpec(artifact=msgspec.structs.replace(before, inputs=(plain,)), numbers="uint8"))
    assert path.read_bytes() == content


def _int8_file(path: Path) -> Artifact:
    """The layer of `write_tflite` with a signature."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    write_tflite(path)
    model = flatbuffer_utils.read_model(str(path))
    graph, sides = model.subgraphs[0], []
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    for name, indices in (("x", graph.inputs), ("y", graph.outputs)):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), int(indices[0])
        tensor = graph.tensors[entry.tensorIndex]
        grid = tensor.quantization
        sides.append((entry, TensorSpec(
            name=name, shape=tuple(map(int, tensor.shape)), dtype="int8", scale=float(grid.scale[0]), zero_point=int(grid.zeroPoint[0]),
        )))  # fmt: skip
    signature.inputs, signature.outputs = [sides[0][0]], [sides[1][0]]
    model.signatureDefs = [signature]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return Artifact(
        path=str(path), format="tflite", precision="int8", size_bytes=path.stat().st_size, sha256="0" * 64,
        inputs=(sides[0][1],), outputs=(sides[1][1],), layout="as the model", toolchain={},
    )  # fmt: skip
