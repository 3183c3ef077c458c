"""`edgekit package --image-input`: the raw image goes in, the answer of the exported file comes out, or nothing is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from commands import edgekit, in_process
from exported_net import PREPROCESSING, write_export

from edgekit.export import _app_interface
from edgekit.package.image import tensor_of
from edgekit.records import Preprocessing

pytestmark = pytest.mark.usefixtures("in_process")
__all__ = ["in_process"]
OPTIONS = ("--name", "tiny", "--version", "1.2.0", "--license", "MIT", "--for", "web", "--image-input")
CASES: dict[str, dict[str, Any]] = {
    "channels": {},
    "bgr": {"color_order": "BGR"},
    "pixels": {"mean": (127.5,), "std": (127.5,), "scale": 1.0, "resize": None, "crop": None},
}


def asked(changes: dict[str, Any]) -> Preprocessing:
    return Preprocessing(
        **{**{name: getattr(PREPROCESSING, name) for name in PREPROCESSING.__struct_fields__}, **changes}
    )


@pytest.mark.parametrize("case", CASES)
def test_the_raw_image_goes_in(case: str, tmp_path: Path) -> None:
    preprocessing = asked(CASES[case])
    export = write_export(tmp_path / "export", preprocessing)
    done = edgekit("package", export, *OPTIONS, "-o", tmp_path / "dist")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "dist" / "targets" / "arm-mobile"
    manifest = json.loads((folder / "manifest.json").read_text())
    (given,) = manifest["signature"]["inputs"]
    assert (given["name"], given["dtype"], given["shape"]) == ("photo", "uint8", [1, 8, 8, 3])
    assert manifest["app_interface"] == ["image"] and manifest["preprocessing"]["mean"] == [0.0]
    before, after = (onnxruntime.InferenceSession(str(p / "model.onnx")) for p in (export, folder))
    for image in np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8):
        (wanted,) = before.run(
            None, {"photo": tensor_of(image, asked({**CASES[case], "resize": None, "crop": None}))}
        )
        (got,) = after.run(None, {"photo": image[None]})
        np.testing.assert_allclose(got, wanted, atol=1e-4)
    image = json.loads((folder / "golden" / "golden.json").read_text())["image"]
    raw = np.fromfile(folder / "golden" / image["file"], np.uint8)
    assert raw.size == image["height"] * image["width"] * 3 and image["input_atol"] == 1.001
    assert edgekit("verify", tmp_path / "dist").exit_code == 0


def test_two_packagings_are_equal(tmp_path: Path) -> None:
    export = write_export(tmp_path / "export")
    for out in ("a", "b"):
        assert edgekit("package", export, *OPTIONS, "-o", tmp_path / out).exit_code == 0
    first, second = (
        {p.relative_to(tmp_path / out): p.read_bytes() for p in (tmp_path / out).rglob("*") if p.is_file()}
        for out in ("a", "b")
    )
    assert first == second


@pytest.mark.parametrize("wrong", ["factor", "summand"])
def test_a_wrong_normalisation_is_found(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = _app_interface.affine

    def affine(preprocessing: Preprocessing, channels: int) -> tuple[np.ndarray, np.ndarray]:
        factor, summand = right(preprocessing, channels)
        return (factor * 1.01, summand) if wrong == "factor" else (factor, summand + 0.02)

    monkeypatch.setattr(_app_interface, "affine", affine)
    done = edgekit("package", write_export(tmp_path / "export"), *OPTIONS, "-o", tmp_path / "dist")
    assert done.exit_code == 1 and "arm-mobile with image answers otherwise: off by" in done.stderr
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(
    ("image", "options", "sentence"),
    [
        (None, ["--image-input"], "--image-input: arm-mobile has no preprocessing of one image"),
        (PREPROCESSING, ["--classifier"], "--classifier is for Core ML: none of the targets has such a file, only onnx"),
        (PREPROCESSING, ["--tflite-numbers", "uint8"], "--tflite-numbers uint8: none of the targets has such a file, only onnx"),
    ],
)  # fmt: skip
def test_a_wish_that_fits_no_file(image: Any, options: list[str], sentence: str, tmp_path: Path) -> None:
    export = write_export(tmp_path / "export", image)
    done = edgekit("package", export, *OPTIONS[:-1], *options, "-o", tmp_path / "dist")
    assert done.exit_code == 2 and sentence in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "dist").exists()
