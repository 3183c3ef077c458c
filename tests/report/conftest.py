"""A finished run as `deploy` would record it: three targets accepted, one refused, one figure missing."""

from typing import Any

import msgspec
import pytest

from edgekit.records import (
    Artifact,
    Attempt,
    Budget,
    Candidate,
    Decision,
    Figure,
    FloatLayer,
    LayerCost,
    Lint,
    Measurement,
    Parity,
    Plan,
    Quant,
    Recipe,
    Report,
    Saturation,
    Skipped,
    StageTime,
    Step,
    TargetReport,
    TensorSpec,
    Verdict,
)

BUDGET = Budget(max_drop=0.005)
INT8 = {"Conv:int8": 49, "Add:int8": 10, "GlobalAveragePool:int8": 1, "Gemm:int8": 1, "Softmax:float32": 1}
HERE = "x86_64 avx2"
PHASES = ("baseline", "import", "load", "first_inference", "warmup")
LAYERS = tuple(
    LayerCost(
        name=f"conv2d_{i}",
        origin=f"features.{i} (Conv2d)",
        macs=1000 * (9 - abs(i - 9)) + 500,
        weights=100 * i + 30,
    )
    for i in range(19)
)
FIRST = (
    FloatLayer(name="conv2d_0", origin="features.0 (Conv2d)", macs_ratio=0.006, reason="it is the first"),
)


def recipe(name: str, precision: Any, reason: str = "cheapest first") -> Recipe:
    technique = name.partition("(")[0]
    options: dict[str, Any] = {"estimator": name[4:-1]} if technique == "ptq" else {}
    return Recipe(
        name=name, precision=precision, steps=(Step(technique=technique, options=options, reason=reason),)
    )


def artifact(file: str, kind: Any, precision: Any, size: int, **changes: Any) -> Artifact:
    dtype = "int8" if kind == "tflite" and precision == "int8" else "float32"
    scale = {"scale": 0.0078125, "zero_point": -1} if dtype == "int8" else {}
    given: dict[str, Any] = {
        "path": file,
        "format": kind,
        "precision": precision,
        "size_bytes": size,
        "sha256": "9f2c4e1b" * 8,
        "inputs": (TensorSpec(name="image", shape=(1, 3, 224, 224), dtype=dtype, **scale),),
        "outputs": (TensorSpec(name="scores", shape=(1, 1000), dtype=dtype, **scale),),
        "layout": "NHWC" if kind == "tflite" else "NCHW",
        "toolchain": {"torch": "2.13.0", kind: "1.2.3"},
    }
    return Artifact(**{**given, **changes})


def verdict(
    runtime: str, metric: float, agreement: float | None, ops: dict[str, int], **changes: Any
) -> Verdict:
    right = sum(n for op, n in ops.items() if op.endswith("int8"))
    lint = Lint(
        promised="int8" if right else "float16",
        ops=ops,
        ops_in_precision=right or sum(ops.values()),
        ops_float=sum(ops.values()) - right if right else 0,
        conversions=2 if right else 0,
        transposes=0,
        input_dtypes=("float32",),
        output_dtypes=("float32",),
        passed=True,
        findings=("Softmax runs in float32: 0.1 % of the multiplications",) if right else (),
    )
    parity = Parity(samples=400, max_abs_error=0.213, rms_error=0.0121, snr_db=27.4, agreement=agreement)
    given: dict[str, Any] = {"runtime": runtime, "metric": metric, "float_metric": 0.8925, "parity": parity}
    return Verdict(**{**given, "lint": lint, **changes})


def measurement(ratio: float | None, *, on_target: bool, **changes: Any) -> Measurement:
    given: dict[str, Any] = {
        "cpu_ratio": ratio,
        "cpu_ratio_low": None if ratio is None else ratio - 0.01,
        "cpu_ratio_high": None if ratio is None else ratio + 0.02,
        "rounds": 0 if ratio is None else 30,
        "cpu_s": None if ratio is None else 0.0262 * ratio,
        "float_cpu_s": None if ratio is None else 0.0262,
        "peak_memory_bytes": None if ratio is None else 38_100_000,
        "model_memory_bytes": None if ratio is None else 12_400_000,
        "float_peak_memory_bytes": None if ratio is None else 84_700_000,
        "measured_on": HERE,
        "on_target": on_target,
        "reason": "" if on_target else f"{HERE} is not a machine this target admits",
    }
    if ratio is not None:
        rounds_s = [0.026 * (1 + 0.02 * (i % 7) + (0.9 if i == 17 else 0)) for i in range(30)]
        given["float_rounds_wall_s"] = tuple(rounds_s)
        given["rounds_wall_s"] = tuple(second * ratio for second in rounds_s)
        given["memory_phases_bytes"] = dict(
            zip(PHASES, (25_000_000, 31_000_000, 37_000_000, 38_000_000, 38_100_000), strict=True)
        )
        given["float_memory_phases_bytes"] = dict(
            zip(PHASES, (25_000_000, 31_000_000, 70_000_000, 84_000_000, 84_700_000), strict=True)
        )
    return Measurement(**{**given, **changes})


def attempt(which: Recipe, accepted: bool, reasons: tuple[str, ...], **rest: Any) -> Attempt:
    quant = Quant(
        activation_dtype="uint8", weight_bits=7, granularity="per_channel", symmetric_activations=False
    )
    figure = Figure(step=which.name, name="calibration batches", value=25.0, unit="batches")
    small = which.precision == "int8"
    given: dict[str, Any] = {
        "decision": Decision(accepted=accepted, reasons=reasons, not_measured=rest.pop("not_measured", ())),
        "candidate": Candidate(
            program="candidate.pt2",
            recipe=which,
            quant=quant if small else None,
            figures=(figure,) if small else (),
            float_layers=FIRST if small else (),
        ),
        "stages": (
            StageTime(stage=which.name, wall_s=41.3, peak_memory_bytes=1_410_000_000),
            StageTime(stage="export", wall_s=9.84, peak_memory_bytes=903_000_000),
            StageTime(stage="verify", wall_s=17.2),
        ),
    }
    return Attempt(recipe=which, **{**given, **rest})


def target(
    name: str, isa: str, runtime: str, kind: Any, attempts: tuple[Attempt, ...], size: int
) -> TargetReport:
    skipped = (Skipped(technique="qat", reason="no training data in the task"),)
    recipes = tuple(item.recipe for item in attempts)
    return TargetReport(
        target=name,
        isa=isa,
        runtime=runtime,
        accepted=attempts[-1].decision.accepted if attempts else False,
        shipped=len(attempts) - 1 if attempts and attempts[-1].decision.accepted else None,
        attempts=attempts,
        plan=Plan(
            task="imagenet-lite0", target=name, isa=isa, budget=BUDGET, recipes=recipes, skipped=skipped
        ),
        baseline=artifact(f"{name}/float.{kind}", kind, "float32", size),
        folder=f"build/{name}",
        summary="" if not attempts else f"{len(attempts)} tried",
    )


def x86_server() -> TargetReport:
    held = Saturation(
        bound_holds=True,
        agreement=1.0,
        max_abs_error=0.0,
        samples=64,
        conclusion="7-bit weights cannot saturate",
        can_saturate=False,
    )
    minmax, mse = recipe("ptq(minmax)", "int8"), recipe("ptq(mse)", "int8", "clips outliers")
    attempts = (
        attempt(
            minmax,
            False,
            ("metric fell by 0.0310, allowed is 0.0050",),
            artifact=artifact("x86-server/model.onnx", "onnx", "int8", 5_160_000),
            verdict=verdict("onnxruntime 1.23", 0.8615, 0.944, INT8),
            measurement=measurement(0.66, on_target=True),
        ),
        attempt(
            mse,
            True,
            ("metric within budget; 1.54 times as fast as float",),
            artifact=artifact("x86-server/model.onnx", "onnx", "int8", 5_160_000),
            verdict=verdict("onnxruntime 1.23", 0.89, 0.985, INT8, saturation=held),
            measurement=measurement(0.65, on_target=True, doubts=("2 of 30 rounds ran beside another job",)),
        ),
    )
    return target("x86-server", "avx2", "onnxruntime", "onnx", attempts, 18_600_000)


def arm_mobile() -> TargetReport:
    accepted = attempt(
        recipe("ptq(mse)", "int8"),
        True,
        ("metric within budget; speed was not judged",),
        not_measured=("latency: no ARM device was given",),
        artifact=artifact("arm-mobile/model.onnx", "onnx", "int8", 5_170_000),
        verdict=verdict("onnxruntime 1.23", 0.8905, 0.9875, INT8),
        measurement=measurement(0.98, on_target=False),
    )
    return target("arm-mobile", "arm-neon", "onnxruntime", "onnx", (accepted,), 18_600_000)


def coreml_fp16() -> TargetReport:
    accepted = attempt(
        recipe("fp16", "float16"),
        True,
        ("metric equal to float",),
        not_measured=("latency: no Apple device was given",),
        artifact=artifact("coreml-fp16/model.mlpackage", "coreml", "float16", 9_320_000),
        verdict=verdict("coreml interpreter", 0.8925, 0.9975, {"conv:float16": 49, "add:float16": 10}),
        measurement=measurement(
            None, on_target=False, reason="Core ML runs on Apple hardware only", measured_on=""
        ),
    )
    return target("coreml-fp16", "apple", "coreml", "coreml", (accepted,), 18_700_000)


def tflite_int8() -> TargetReport:
    attempts = (
        attempt(
            recipe("ptq(mse)", "int8"),
            False,
            ("metric fell by 0.4825, allowed is 0.0050",),
            artifact=artifact("tflite-int8/model.tflite", "tflite", "int8", 5_420_000),
            verdict=verdict("litert 2.2", 0.41, 0.452, INT8, doubts=("scored on 400 of 500 samples",)),
            measurement=measurement(1.04, on_target=False),
        ),
        Attempt(
            recipe=recipe("ptq(moving_average)", "int8"),
            decision=Decision(accepted=False, reasons=("the export failed",)),
            error="litert-torch cannot lower aten.roll from block.3",
        ),
    )
    return target("tflite-int8", "any", "litert", "tflite", attempts, 18_580_000)


@pytest.fixture
def report() -> Report:
    return Report(
        schema_version=2,
        edgekit_version="0.1.0",
        task="imagenet-lite0",
        created="2025-01-31T12:00:00Z",
        machine={"cpu": "x86_64 avx2, 2 cores", "os": "Linux 6.1"},
        float_metric=0.8925,
        samples=400,
        parameters=4_652_008,
        budget=BUDGET,
        targets=(x86_server(), arm_mobile(), coreml_fp16(), tflite_int8()),
        stages=(StageTime(stage="trace", wall_s=12.1, peak_memory_bytes=800_000_000),),
        doubts=("the calibration set holds 100 samples, few for histograms",),
        layers=LAYERS,
    )


@pytest.fixture
def empty(report: Report) -> Report:
    return msgspec.structs.replace(report, targets=())
