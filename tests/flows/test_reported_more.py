"""More situations from bug reports of converters: see test_reported.py. ONNX in integers for a few; the rest is for `-m slow`."""

from pathlib import Path

import pytest
from reported_stages import made, traced_of

pytestmark = pytest.mark.long

FILE = "reported_more.py"
RESIZED = tuple(f"resize_{way}" for way in ("bicubic", "corners", "fraction", "exact", "area", "smooth"))
UPWARDS = tuple(f"up_{kind}" for kind in ("output_padding", "groups", "depthwise", "dilated"))
NETS = (
    "biases", "written", "scaled", "same", "alphas", "large_norms", "warped", "summed", "pixels", "doubles", "whole_numbers", "spectrum",
    "normed_old", "normed_new", *RESIZED, *UPWARDS,
)  # fmt: skip
QUICK = ("biases", "written", "same", "pixels", "doubles", "normed_old")
LEAST = {"float32": 0.9999, "float16": 0.99, "int8": 0.9}
FLOAT = ("summed",)  # a product of two activations, written by einsum


def slow(nets: tuple[str, ...]) -> list[object]:
    return [net if net in QUICK else pytest.param(net, marks=pytest.mark.slow) for net in nets]


@pytest.mark.parametrize("net", slow(NETS))
def test_onnx_in_integers(net: str, tmp_path: Path) -> None:
    verdict = made(traced_of(net, tmp_path, FILE), "arm-mobile", "int8", tmp_path)[1]
    assert verdict.metric >= LEAST["int8"] and (verdict.lint.share == 1 or net in FLOAT), verdict.lint


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(
    ("target", "precision"),
    [("tflite-int8", "float32"), ("tflite-int8", "int8"), ("coreml-fp16", "float16")],
)
def test_other_formats(net: str, target: str, precision: str, tmp_path: Path) -> None:
    given = traced_of(net, tmp_path, FILE)
    verdict = made(given, target, precision, tmp_path)[1]
    assert verdict.metric >= LEAST[precision]


def test_whole_numbers_of_8_bits_come_in_as_such(tmp_path: Path) -> None:
    artifact, _ = made(traced_of("pixels", tmp_path, FILE), "arm-mobile", "float32", tmp_path)
    assert [spec.dtype for spec in artifact.inputs] == ["uint8"]
