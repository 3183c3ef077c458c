"""Executed attempts of a few figures, for tests of what is chosen among them and how it is shown."""

from typing import Any

import msgspec

from edgekit.ladder import gate
from edgekit.records import (
    Artifact,
    Attempt,
    Budget,
    Lint,
    Measurement,
    Parity,
    Precision,
    Recipe,
    TensorSpec,
    Verdict,
)

TENSOR = (TensorSpec(name="x", shape=(1, 4), dtype="float32"),)
FLOAT = Artifact(
    path="float.onnx",
    format="onnx",
    precision="float32",
    size_bytes=4000,
    sha256="float",
    inputs=TENSOR,
    outputs=TENSOR,
    layout="as the model",
    toolchain={},
)
LINT = Lint(
    promised="int8",
    ops={},
    ops_in_precision=3,
    ops_float=0,
    conversions=0,
    transposes=0,
    input_dtypes=(),
    output_dtypes=(),
    passed=True,
    findings=(),
)


def tried(
    name: str, size_bytes: int, ratio: float | None, drop: float, budget: Budget | None = None, **changed: Any
) -> Attempt:
    """An attempt with these figures, judged by the gate. ratio: None where nobody measured on the target."""
    precision: Precision = "float32" if name == "float32" else "int8"
    artifact = msgspec.structs.replace(FLOAT, precision=precision, size_bytes=size_bytes, sha256=name)
    parity = Parity(samples=100, max_abs_error=0, rms_error=0, snr_db=None, agreement=1.0)
    verdict = Verdict(
        runtime="onnxruntime",
        metric=0.9 - drop,
        float_metric=0.9,
        parity=parity,
        lint=changed.get("lint", LINT),
    )
    measured = Measurement(
        cpu_ratio=ratio,
        cpu_ratio_low=ratio,
        cpu_ratio_high=ratio,
        rounds=40,
        cpu_s=None,
        float_cpu_s=None,
        peak_memory_bytes=None,
        float_peak_memory_bytes=None,
        measured_on="here",
        on_target=ratio is not None,
        reason="",
    )
    return Attempt(
        recipe=Recipe(name=name, precision=precision, steps=()),
        decision=gate.decide(budget or Budget(), artifact, FLOAT, verdict, measured),
        artifact=artifact,
        verdict=verdict,
        measurement=measured,
    )
