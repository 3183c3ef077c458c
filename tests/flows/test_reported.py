"""Situations from bug reports of converters, each a small net: right on the targets, or one sentence that says why not.

ONNX is always tried; the other converters cost seconds a net and are for `-m slow`.
"""

from pathlib import Path

import pytest

from edgekit.engine.specs import CompressSpec, Context, ExportSpec, TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.engine.verify_specs import ProveSpec
from edgekit.export._stage import export
from edgekit.ladder.build import free_axes
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Candidate, Recipe, Step, Traced, Verdict
from edgekit.techniques._stage import compress
from edgekit.trace.stage import trace
from edgekit.verify.prove import prove

pytestmark = pytest.mark.long

FILE = Path(__file__).parents[1] / "task_files" / "reported.py"
NETS = ("outlier", "both_ways", "flat", "normed")
LEAST = {"float32": 0.9999, "float16": 0.99, "int8": 0.85}


def traced_of(net: str, work: Path) -> tuple[TaskSource, Traced]:
    source = TaskSource(name=net, reference=f"{FILE}:task", settings={"net": net})
    return source, trace(TraceSpec(source=source, work=str(work)))


def made(given: tuple[TaskSource, Traced], name: str, precision: str, work: Path) -> tuple[Artifact, Verdict]:
    source, traced = given
    target = load_target(name)
    quant = target.quant_for(target.default_isa) if precision == "int8" else None
    candidate = Candidate(
        program=traced.program, recipe=Recipe(name="r", precision=precision, steps=()), quant=quant,
        interface=traced.interface, free=free_axes(traced, target),
    )  # fmt: skip
    if precision == "int8":
        context = Context(work=str(work), target=target, traced=traced)
        step = Step(technique="ptq", options={"estimator": "minmax"})
        candidate = compress(CompressSpec(candidate=candidate, step=step, source=source, context=context))
    artifact = export(ExportSpec(candidate=candidate, target=target, folder=str(work)))
    spec = ProveSpec(
        artifact=artifact, traced=traced, source=source, runtime=target.runtime, isa="any", host_isa="any",
        golden=str(work / "golden.npz"),
    )  # fmt: skip
    return artifact, prove(spec)


@pytest.mark.parametrize("net", NETS)
def test_onnx(net: str, tmp_path: Path) -> None:
    given = traced_of(net, tmp_path)
    for precision in ("float32", "int8"):
        if net in ("both_ways", "outlier") and precision == "int8":
            continue  # calibrated integers do not reach into cells; a number of 3000 takes the whole range
        work = tmp_path / precision
        work.mkdir()
        verdict = made(given, "arm-mobile", precision, work)[1]
        assert verdict.metric >= LEAST[precision], (precision, verdict.metric)


def test_a_flatten_that_mixes_samples_keeps_one_on_a_server(tmp_path: Path) -> None:
    _, traced = traced_of("flat", tmp_path)
    assert traced.free is not None and "the axis batch cannot be free" in traced.free.reason


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tflite-int8", "coreml-fp16"])
@pytest.mark.parametrize("net", ["outlier", "normed"])
def test_other_formats(net: str, target: str, tmp_path: Path) -> None:
    given = traced_of(net, tmp_path)
    _, verdict = made(given, target, "float32", tmp_path)
    assert verdict.metric >= LEAST["float32" if target == "tflite-int8" else "float16"]
