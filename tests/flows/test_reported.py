"""Situations from bug reports of converters, each a small net: right on the targets, or one sentence that says why not.

ONNX is tried for the quick ones; the others, and other converters, cost seconds a net and are for `-m slow`.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from reported_stages import finished, made, traced_of

from edgekit.engine.specs import CompressSpec, Context
from edgekit.engine.task_source import TaskSource
from edgekit.profile.reading import load_target
from edgekit.records import Candidate, Recipe, Step, Traced
from edgekit.techniques._stage import compress

pytestmark = pytest.mark.long

NETS = (
    "outlier", "both_ways", "flat", "normed", "shared", "patches", "twice", "padded_rows", "padded_samples", "best",
    "padded", "decoder",
)  # fmt: skip
FLOAT = (
    "both_ways",
    "outlier",
)  # calibrated integers do not reach into cells; a number of 3000 takes the whole range
QUICK = ("flat", "shared", "padded_samples", "best", "padded")  # the others are tried in nightly runs
LEAST = {"float32": 0.9999, "float16": 0.99, "int8": 0.85}


@pytest.mark.parametrize(
    "net", [net if net in QUICK else pytest.param(net, marks=pytest.mark.slow) for net in NETS]
)
def test_onnx(net: str, tmp_path: Path) -> None:
    given = traced_of(net, tmp_path)
    for precision in ("float32", "int8"):
        if net in FLOAT and precision == "int8":
            continue
        work = tmp_path / precision
        work.mkdir()
        verdict = made(given, "arm-mobile", precision, work)[1]
        assert verdict.metric >= LEAST[precision], (precision, verdict.metric)


def step(
    given: tuple[TaskSource, Traced], target: str, work: Path, technique: str, **options: Any
) -> Candidate:
    """The candidate after one step."""
    source, traced = given
    profile = load_target(target)
    quant = profile.quant_for(profile.default_isa) if profile.format == "onnx" else None
    recipe = Recipe(name="r", precision="float32", steps=())
    candidate = Candidate(program=traced.program, recipe=recipe, quant=quant, interface=traced.interface)
    context = Context(work=str(work), target=profile, traced=traced)
    asked = Step(technique=technique, options=options)
    return compress(CompressSpec(candidate=candidate, step=asked, source=source, context=context))


@pytest.mark.parametrize("net", ["gated", "patches"])
def test_half_of_the_work_is_pruned(net: str, tmp_path: Path) -> None:
    done = step(traced_of(net, tmp_path), "arm-mobile", tmp_path, "prune", macs=0.6, recalibrate=0)
    figures = {figure.name: figure.value for figure in done.figures}
    assert figures["MACs"] < 0.65 * figures["MACs before"], figures


@pytest.mark.parametrize("net", ["flat", "twice"])
def test_techniques_ask_the_metric_as_the_model_is_called(net: str, tmp_path: Path) -> None:
    """An output without samples, and states: one sample at a time."""
    done = step(traced_of(net, tmp_path), "arm-mobile", tmp_path, "sparsify", sparsity=0.1)
    figures = {figure.name: figure.value for figure in done.figures}
    assert figures["metric before"] > 0.9999 and figures["metric after"] > 0.5


def test_numbers_that_are_none_are_left_out_of_the_ranges_and_said(tmp_path: Path) -> None:
    given = traced_of("padded_samples", tmp_path)
    done = step(given, "arm-mobile", tmp_path, "ptq", estimator="mse", rounding="gptq")
    (doubt,) = done.doubts
    assert doubt.startswith("calibration met NaN or infinite numbers in what")


def test_numbers_that_are_none_are_said_where_no_range_meets_them(tmp_path: Path) -> None:
    done = step(traced_of("padded_rows", tmp_path), "arm-mobile", tmp_path, "ptq", estimator="minmax")
    (doubt,) = done.doubts
    assert doubt.startswith(
        "calibration met NaN in what aten.softmax of the model itself (PaddedRows) gives (sample 1)"
    )


def test_places_stay_whole_numbers(tmp_path: Path) -> None:
    artifact, _ = made(traced_of("best", tmp_path), "arm-mobile", "int8", tmp_path)
    assert [spec.dtype for spec in artifact.outputs] == ["float32", "int64", "int64"]


def test_cells_that_share_their_weights_are_ranged_at_run_time(tmp_path: Path) -> None:
    given = traced_of("twice", tmp_path)
    done = step(given, "arm-mobile", tmp_path, "dynamic")
    recipe = Recipe(name="r", precision="int8", steps=(Step(technique="dynamic"),))
    artifact, verdict = finished(
        given, load_target("arm-mobile"), msgspec.structs.replace(done, recipe=recipe), tmp_path
    )
    assert verdict.metric > 0.98 and verdict.lint.ops["DynamicQuantizeLSTM:uint8"] == 4
    assert artifact.size_bytes < 14_000, "the weights are stored once"


@pytest.mark.slow
def test_training_with_integers_folds_the_norm_of_a_transposed_layer(tmp_path: Path) -> None:
    done = step(traced_of("decoder", tmp_path), "arm-mobile", tmp_path, "qat", images=64)
    assert {figure.name: figure.value for figure in done.figures}["layers left float"] == 0


def test_a_flatten_that_mixes_samples_keeps_one_on_a_server(tmp_path: Path) -> None:
    _, traced = traced_of("flat", tmp_path)
    assert traced.free is not None and "the axis batch cannot be free" in traced.free.reason


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tflite-int8", "coreml-fp16"])
@pytest.mark.parametrize("net", [net for net in NETS if net != "flat"])
def test_other_formats(net: str, target: str, tmp_path: Path) -> None:
    given = traced_of(net, tmp_path)
    _, verdict = made(given, target, "float32", tmp_path)
    assert verdict.metric >= LEAST["float32" if target == "tflite-int8" else "float16"]
