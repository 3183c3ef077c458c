"""Kernels are counted to the layer before them; two files of one net give one row a layer."""

from pathlib import Path

import pytest

from edgekit.engine.measure_specs import LayerTimesSpec
from edgekit.measure.layer_times import USUAL_BORDER_S, border_s_per_element, layer_times, segments
from edgekit.records import Artifact, TensorSpec

CALLS = [
    ("node_quantize", "QuantizeLinear", 4e-6),
    ("node_conv2d_token_3", "QLinearConv", 10e-6),
    ("", "QLinearAdd", 1e-6),
    ("reorder", "ReorderInput", 2e-6),
    ("node_linear", "QGemm", 5e-6),
    ("node_out", "DequantizeLinear", 1e-6),
]


def artifact(path: Path, elements: int = 90, file_format: str = "onnx") -> Artifact:
    spec = TensorSpec(name="x", shape=(1, elements), dtype="float32")
    out = TensorSpec(name="y", shape=(1, 10), dtype="float32")
    return Artifact(
        path=str(path), format=file_format, precision="int8", size_bytes=1, sha256="", inputs=(spec,), outputs=(out,),
        layout="as the model", toolchain={},
    )  # fmt: skip


def test_a_layer_has_what_follows_it_without_conversions() -> None:
    found = segments(CALLS)
    assert [name for name, _ in found] == ["node_conv2d_token_3", "node_linear"]
    assert [seconds for _, seconds in found] == pytest.approx([11e-6, 5e-6])


def test_a_border_costs_the_conversions_over_the_numbers_at_the_ends() -> None:
    assert border_s_per_element(CALLS, artifact(Path("m"))) == pytest.approx(7e-6 / 100)
    assert border_s_per_element(CALLS[1:2], artifact(Path("m"))) == USUAL_BORDER_S


def test_a_runtime_without_a_profiler_gives_the_reason() -> None:
    spec = LayerTimesSpec(
        artifact=artifact(Path("m"), file_format="tflite"),
        baseline=artifact(Path("f"), file_format="tflite"),
        runtime="litert",
        machine={},
    )
    found = layer_times(spec)
    assert found.layers == () and found.reason == "litert tells no times of single layers"
