"""What a record of the runner means for a target: whose figures decide, and what is said where nobody measured."""

import platform
from typing import Any

import pytest

from edgekit.errors import VerificationError
from edgekit.golden import Golden
from edgekit.measure import comparison
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Measurement, TensorSpec

TENSOR = (TensorSpec(name="x", shape=(1, 4), dtype="float32"),)
PAIR, FLOAT_PAIR = Golden(path="golden.npz", atol=0.5), Golden(path="float.npz", atol=0.001)


def artifact(path: str, precision: Any) -> Artifact:
    return Artifact(
        path=path,
        format="onnx",
        precision=precision,
        size_bytes=1,
        sha256="",
        inputs=TENSOR,
        outputs=TENSOR,
        layout="NCHW",
        toolchain={},
    )


def memory(peak_bytes: int, over_bytes: int) -> dict[str, Any]:
    """What a process held: this peak, this much over what it held before."""
    phases = {
        "baseline": {"rss_bytes": peak_bytes - over_bytes, "peak_bytes": 1},
        "load": {"rss_bytes": 1, "peak_bytes": peak_bytes},
        "warmup": {"rss_bytes": 1, "peak_bytes": None},
    }
    return {"peak_bytes": peak_bytes, "peak_over_baseline_bytes": over_bytes, "phases": phases}


def record(machine: str, isa: str, **changes: Any) -> dict[str, Any]:
    """A finished comparison as the runner answers it."""
    done: dict[str, Any] = {
        "status": "ok",
        "reason": None,
        "error_kind": None,
        "environment": {"machine": machine, "isa": isa, "emulated": "no"},
        "doubts": ["the clock wandered"],
        "validity": {"verdict": "disturbed"},
        "comparison": {
            "cpu_p50_ratio": 0.6,
            "cpu_p50_ci95_low_ratio": 0.55,
            "cpu_p50_ci95_high_ratio": 0.65,
            "rounds_count": 40,
            "artifact_cpu_p50_s": 0.006,
            "baseline_cpu_p50_s": 0.01,
            "artifact_wall_rounds_s": [0.00612345, 0.006],
            "baseline_wall_rounds_s": [0.011, 0.01],
        },
        "artifact_memory": memory(50, 20),
        "baseline_memory": memory(90, 60),
    }
    return {**done, **changes}


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Measures int8 against float for a target, the runner's answer being given; keeps the runner's spec."""

    def call(
        answer: dict[str, Any], target: str = "x86-server", isa: str = "avx2", precision: str = "int8"
    ) -> Measurement:
        def compare(spec: dict[str, Any]) -> dict[str, Any]:
            call.spec = spec  # type: ignore[attr-defined]
            return answer

        monkeypatch.setattr(comparison.api, "compare", compare)
        made, float_ = artifact("a.onnx", precision), artifact("f.onnx", "float32")
        profile = load_target(target)
        return comparison.compare(made, PAIR, float_, FLOAT_PAIR, profile, isa, profile.runtime)

    return call


def test_the_figures_of_a_machine_that_the_target_admits(measure: Any) -> None:
    found = measure(record("x86_64", "avx2"))
    assert found == Measurement(
        cpu_ratio=0.6,
        cpu_ratio_low=0.55,
        cpu_ratio_high=0.65,
        rounds=40,
        cpu_s=0.006,
        float_cpu_s=0.01,
        peak_memory_bytes=50,
        float_peak_memory_bytes=90,
        model_memory_bytes=20,
        float_model_memory_bytes=60,
        measured_on="x86_64 avx2",
        on_target=True,
        reason="measured on x86_64 avx2",
        doubts=("the clock wandered",),
        rounds_wall_s=(0.006123, 0.006),
        float_rounds_wall_s=(0.011, 0.01),
        memory_phases_bytes={"baseline": 30, "load": 50},
        float_memory_phases_bytes={"baseline": 30, "load": 90},
    )


@pytest.mark.parametrize(
    ("validity", "calm"), [({"verdict": "ok"}, True), ({"verdict": "unknown"}, False), (None, False)]
)
def test_later_runs_take_over_what_nothing_disturbed(measure: Any, validity: Any, calm: bool) -> None:
    assert measure(record("x86_64", "avx2", validity=validity)).calm is calm


def test_a_record_of_an_older_runner_has_no_rounds(measure: Any) -> None:
    given = record("x86_64", "avx2")
    for whose in ("artifact", "baseline"):
        del given["comparison"][f"{whose}_wall_rounds_s"]
    assert measure(given).rounds_wall_s == ()


def test_both_files_are_proven_each_against_its_own_golden_pair(measure: Any) -> None:
    measure(record("x86_64", "avx2"))
    assert measure.spec == {
        "artifact": "a.onnx",
        "format": "onnx",
        "runtime": "onnxruntime",
        "golden": "golden.npz",
        "golden_atol": 0.5,
        "baseline": "f.onnx",
        "baseline_format": "onnx",
        "baseline_runtime": "onnxruntime",
        "baseline_golden": "float.npz",
        "baseline_golden_atol": 0.001,
        "rounds_count": comparison.ROUNDS,
        "processes_min_count": comparison.PROCESSES,
        "state": {},
    }


@pytest.mark.parametrize(
    ("target", "machine", "isa", "emulated", "on_target"),
    [
        ("x86-server", "x86_64", "avx2", "no", True),
        ("x86-server", "x86_64", "avx512-vnni", "no", True),
        ("x86-server", "x86_64", "x86-64", "no", False),
        ("x86-server", "aarch64", "arm-i8mm", "no", False),
        ("arm-mobile", "x86_64", "avx2", "no", False),
        ("arm-mobile", "aarch64", "arm-dotprod", "no", True),
        ("arm-mobile", "aarch64", "arm-dotprod", "qemu", False),
        ("arm-mobile", "aarch64", "arm-dotprod", "unknown", False),
        ("tflite-int8", "x86_64", "avx512-vnni", "no", False),
    ],
)
def test_who_decides(
    measure: Any, target: str, machine: str, isa: str, emulated: str, on_target: bool
) -> None:
    """Only a real machine of the target's own kind; an emulated one proves outputs, never milliseconds."""
    answer = record(machine, isa, environment={"machine": machine, "isa": isa, "emulated": emulated})
    found = measure(answer, target, load_target(target).default_isa)
    assert found.on_target is on_target
    if not on_target:
        assert found.reason == f"not measured on the target: {machine} {isa} is not one of its machines"
    assert found.cpu_ratio == 0.6, "the figure itself is kept"


@pytest.mark.parametrize(
    ("isa", "serving", "precision", "doubted", "faster_than_serving_isa"),
    [
        ("avx2", "avx2", "int8", False, False),
        ("avx512-vnni", "avx2", "int8", True, True),
        ("avx512-vnni", "avx2", "float16", True, False),
        ("avx512-vnni", "avx-vnni", "int8", True, False),
        ("avx2", "avx512-vnni", "int8", True, False),
    ],
)
def test_another_level_than_the_serving_one(
    measure: Any, isa: str, serving: str, precision: str, doubted: bool, faster_than_serving_isa: bool
) -> None:
    """A VNNI machine flatters int8 for a server without it: its figure may refuse, not acquit."""
    found = measure(record("x86_64", isa), "x86-server", serving, precision)
    said = f"measured on {isa}; the serving level {serving} was not measured"
    assert (said in found.doubts) is doubted
    assert "the clock wandered" in found.doubts
    assert found.faster_than_serving_isa is faster_than_serving_isa


def test_a_runner_that_refuses_is_a_refusal(measure: Any) -> None:
    """A wrong answer or a crash where the app will run it is no missing figure."""
    with pytest.raises(VerificationError, match="the runner does not time it: artifact: output 0 differs"):
        measure(
            record(
                "x86_64",
                "avx2",
                status="failed",
                error_kind="verification",
                reason="artifact: output 0 differs",
            )
        )


def test_a_missing_runtime_is_not_measured(measure: Any) -> None:
    found = measure(
        record("x86_64", "avx2", status="failed", error_kind="missing_runtime", reason="pip install it")
    )
    assert not found.on_target
    assert found.reason == "not measured: pip install it"
    assert (found.cpu_ratio, found.rounds, found.peak_memory_bytes) == (None, 0, None)


def test_core_ml_is_not_timed_off_apple(measure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    found = measure({}, "coreml-fp16", "apple")
    assert not hasattr(measure, "spec"), "the runner is not even started"
    assert found.reason == "not measured on the target: Core ML runs on Apple devices only"
    assert not found.on_target
