"""Records of a few figures that tests of ladder, report and package share: a float file, an int8 one, what was found of it."""

from pathlib import Path
from typing import Any

import msgspec
from edgekit_runner.artifact import sha256

from edgekit.ladder import gate
from edgekit.package import manifest_content, manifest_file
from edgekit.profile.reading import load_target
from edgekit.records import (
    Artifact,
    Attempt,
    Budget,
    Decision,
    Flip,
    Flips,
    Lint,
    Measurement,
    Parity,
    Plan,
    Precision,
    Preprocessing,
    Recipe,
    Step,
    TargetReport,
    TaskFacts,
    TensorSpec,
    Traced,
    Verdict,
)
from edgekit.records.manifest import Manifest
from edgekit.trace.paired import drop_interval, mcnemar_p

HERE = "x86_64 avx2"
TENSOR = (TensorSpec(name="x", shape=(1, 4), dtype="float32"),)
FLOAT = Artifact(
    path="float.onnx",
    format="onnx",
    precision="float32",
    size_bytes=4000,
    sha256="0" * 64,
    inputs=TENSOR,
    outputs=TENSOR,
    layout="as the model",
    toolchain={},
)
INT8 = msgspec.structs.replace(FLOAT, path="int8.onnx", precision="int8", size_bytes=1000)
TRACED = Traced(
    facts=TaskFacts(name="t", calibration=True, training=True),
    preprocessing=Preprocessing(),
    program="float",
    predictions="",
    samples_file="",
    inputs=(),
    outputs=(),
    metric=0.9,
    samples=1,
    parameters=1100,
    weights=1000,
)
LINT = Lint(
    promised="int8",
    ops={"QLinearConv:uint8": 3},
    ops_in_precision=3,
    ops_float=0,
    conversions=2,
    transposes=0,
    input_dtypes=("float32",),
    output_dtypes=("float32",),
    passed=True,
    findings=(),
)
GOOD = Verdict(
    runtime="onnxruntime",
    metric=0.892,
    float_metric=0.894,
    parity=Parity(samples=500, max_abs_error=0.1, rms_error=0.01, snr_db=30.0, agreement=0.99),
    lint=LINT,
)
FAST = Measurement(
    cpu_ratio=0.62,
    cpu_ratio_low=0.60,
    cpu_ratio_high=0.64,
    rounds=40,
    cpu_s=0.0062,
    float_cpu_s=0.01,
    peak_memory_bytes=50_000_000,
    float_peak_memory_bytes=90_000_000,
    measured_on=HERE,
    on_target=True,
    reason=f"measured on {HERE}",
)
FLIP_SAMPLES = 400


def flips(*changed: tuple[int, int, int | None], reference: str = "same") -> Flips:
    """changed: (sample, class of the artifact, gain); the float model's class is 0 everywhere."""
    gains = [gain for *_, gain in changed]
    gained, lost = gains.count(1), gains.count(-1)
    low, high = drop_interval(lost, gained, FLIP_SAMPLES)
    return Flips(
        samples=FLIP_SAMPLES,
        reference=reference,
        flips=tuple(Flip(sample=s, float_class=0, artifact_class=c, gain=g) for s, c, g in changed),
        scale=1.0,
        gained=gained,
        lost=lost,
        exact=None not in gains,
        p_value=mcnemar_p(lost, gained),
        drop_low=low,
        drop_high=high,
    )


def tried(
    name: str, size_bytes: int, ratio: float | None, drop: float, budget: Budget | None = None, **changed: Any
) -> Attempt:
    """An attempt with these figures, judged by the gate. ratio: None where nobody measured on the target."""
    precision: Precision = "float32" if name == "float32" else "int8"
    artifact = msgspec.structs.replace(FLOAT, precision=precision, size_bytes=size_bytes, sha256=name)
    parity = Parity(samples=100, max_abs_error=0, rms_error=0, snr_db=None, agreement=1.0)
    verdict = msgspec.structs.replace(
        GOOD, metric=0.9 - drop, float_metric=0.9, parity=parity, lint=changed.get("lint", LINT)
    )
    measured = msgspec.structs.replace(
        FAST, cpu_ratio=ratio, cpu_ratio_low=ratio, cpu_ratio_high=ratio, on_target=ratio is not None
    )
    return Attempt(
        recipe=Recipe(name=name, precision=precision, steps=()),
        decision=gate.decide(budget or Budget(), artifact, FLOAT, verdict, measured),
        artifact=artifact,
        verdict=verdict,
        measurement=measured,
    )


def accepted(artifact: Artifact, **changes: Any) -> Attempt:
    """An accepted attempt of the float recipe, without a measurement."""
    given: dict[str, Any] = {
        "recipe": Recipe(name="float32", precision="float32", steps=(Step(technique="float32"),)),
        "decision": Decision(accepted=True, reasons=("fine",), not_measured=("speed: nobody did",)),
        "artifact": artifact,
        "verdict": msgspec.structs.replace(GOOD, doubts=("from the verifier",)),
    }
    return Attempt(**{**given, **changes})


def target_report(*attempts: Attempt, target: str = "x86-server", isa: str = "avx2") -> TargetReport:
    """The report of attempts whose last was accepted."""
    recipes = tuple(attempt.recipe for attempt in attempts)
    plan = Plan(task="t", target=target, isa=isa, budget=Budget(), recipes=recipes, skipped=())
    return TargetReport(
        target=target,
        isa=isa,
        runtime="onnxruntime",
        accepted=True,
        shipped=len(attempts) - 1,
        attempts=attempts,
        plan=plan,
    )


def manifest_of(
    attempt: Attempt,
    folder: Path,
    preprocessing: Preprocessing | None,
    *,
    target: str = "x86-server",
    task: str = "t",
    atol: float = 0.125,
    isa: str = "avx2",
) -> Manifest:
    """The manifest of an accepted attempt whose artifact and golden pair lie in `folder`."""
    report = target_report(attempt, target=target, isa=isa)
    return manifest_content.build(report, attempt, load_target(target), task, preprocessing, atol, folder)


def write_manifest(folder: Path, atol: float = 0.125, **tensor: Any) -> None:
    """The manifest of `model.onnx` and `golden.npz` in `folder`."""
    path = folder / "model.onnx"
    spec = TensorSpec(**{"name": "x", "shape": (1, 64), "dtype": "float32", **tensor})
    artifact = msgspec.structs.replace(
        FLOAT,
        path=str(path),
        size_bytes=path.stat().st_size,
        sha256=sha256(path),
        inputs=(spec,),
        outputs=(spec,),
    )
    manifest_file.write(manifest_of(accepted(artifact), folder, Preprocessing(), atol=atol), folder)
