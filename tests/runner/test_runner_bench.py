"""Several processes, one record: which count, when measuring stops, what the verdict is."""

from typing import Any

import pytest
from edgekit_runner import record, spawn, spec
from edgekit_runner.kinds import bench
from edgekit_runner.stats import processes

ASKED = spec.from_dict({"schema_version": 2, "artifact": "m.onnx"})
MEMORY = {"peak_bytes": 100, "peak_over_baseline_bytes": 50, "peak_reset": "done"}
NO_ENERGY = {"status": "unavailable", "source": None, "reason": "no counter", "energy_j": None, "wall_s": 1.0}


def process(p50_s: float = 0.01, external: bool = False, verdict: str = "", **more: Any) -> dict[str, Any]:
    verdict = verdict or ("disturbed" if external else "ok")
    causes = ["somebody was there."] if verdict == "disturbed" else []
    return {
        "runs_count": 20, "p50_s": p50_s, "min_s": p50_s, "cpu_p50_s": p50_s, "cpu_min_s": p50_s / 2,
        "wall_cpu_ratio": 1.0, "peak_bytes": 100, "peak_over_baseline_bytes": 50, "window": {},
        "verdict": verdict, "causes": causes, "unreadable": ["temperature"], "external": external, **more,
    }  # fmt: skip


def single(summary: dict[str, Any], peak_bytes: int = 100) -> record.AnyRecord:
    nanoseconds = [round(summary["p50_s"] * 1e9)] * summary["runs_count"]
    latency = {"input_copy_p50_s": 1e-6, "output_copy_p50_s": 1e-6, "duration_s": 0.5}
    made = record.succeed(record.blank("bench"))
    return {
        **made, "processes": [summary], "samples": {"wall_ns": nanoseconds, "cpu_ns": nanoseconds},
        "latency": latency, "phases": {"load_s": 0.1, "warmup_runs_count": 3}, "energy": NO_ENERGY,
        "memory": {**MEMORY, "peak_bytes": peak_bytes},
    }  # fmt: skip


def fed(monkeypatch: pytest.MonkeyPatch, summaries: list[dict[str, Any]]) -> list[spec.Spec]:
    asked: list[spec.Spec] = []
    feed = iter(summaries)

    def run(one: spec.Spec) -> record.AnyRecord:
        asked.append(one)
        return single(next(feed))

    monkeypatch.setattr(spawn, "run", run)
    return asked


def test_agreeing_processes_end_at_the_sixth(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fed(monkeypatch, [process(0.01 + i * 1e-6) for i in range(20)])
    found = bench.run(ASKED)
    assert len(asked) == 6 and found["latency"]["stopped_by"] == "ci_half_width_ratio"
    assert found["latency"]["p50_s"] == pytest.approx(0.0100025)
    assert found["latency"]["p50_ci95_low_s"] == 0.01 and found["latency"]["runs_count"] == 120
    assert found["validity"]["verdict"] == "ok" and found["validity"]["converged"] is True
    assert found["latency"]["p50_valid"] is True and found["samples"] is None
    assert asked[0].min_runs_count == 17 and asked[0].min_duration_s == pytest.approx(0.5)


def test_processes_that_disagree_end_at_the_most_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fed(monkeypatch, [process(0.01 * (1 + 0.2 * (i % 2))) for i in range(20)])
    found = bench.run(ASKED)
    assert len(found["processes"]) == 15 and found["latency"]["stopped_by"] == "processes_max_count"
    assert found["validity"]["converged"] is False
    assert any(doubt.startswith("not_converged: ") for doubt in found["doubts"])


def test_a_process_that_others_disturbed_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    fed(monkeypatch, [process(0.02, external=True), *[process(0.01) for _ in range(9)]])
    found = bench.run(ASKED)
    assert [entry["counted"] for entry in found["processes"]] == [False, *[True] * 6]
    assert found["latency"]["p50_s"] == 0.01 and found["validity"]["verdict"] == "ok"
    assert found["validity"]["left_out_processes_count"] == 1
    assert any("1 of 7 processes" in doubt for doubt in found["doubts"])


def test_drift_alone_is_no_reason_to_leave_a_process_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fed(monkeypatch, [process(0.02, verdict="disturbed"), *[process(0.01) for _ in range(30)]])
    found = bench.run(ASKED)
    assert all(entry["counted"] for entry in found["processes"]) and found["validity"]["verdict"] == "ok"


def test_a_busy_machine_is_disturbed_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fed(monkeypatch, [process(0.01, external=True, wall_cpu_ratio=1.5)] * 20)
    found = bench.run(ASKED)
    assert len(asked) == 6 and found["latency"]["stopped_by"] == "disturbance"
    assert found["validity"]["verdict"] == "disturbed" and not found["latency"]["p50_valid"]
    assert all(entry["counted"] for entry in found["processes"])
    assert "somebody was there." in found["validity"]["causes"]
    assert any("lower bounds" in doubt for doubt in found["doubts"])


def test_what_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    fed(monkeypatch, [process(verdict="unknown")] * 20)
    found = bench.run(ASKED)
    assert found["validity"]["verdict"] == "unknown" and found["latency"]["p50_valid"] is True
    assert any("does not show temperature" in doubt for doubt in found["doubts"])


def test_a_process_that_fails_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = iter([single(process()), record.fail(record.blank("bench"), "it broke.", "crash")])
    monkeypatch.setattr(spawn, "run", lambda one: next(feed))
    found = bench.run(ASKED)
    assert found["status"] == "failed" and found["reason"] == "process 2: it broke."


def test_memory_is_of_the_median_process_with_the_range() -> None:
    parts = [single(process(), peak) for peak in (130, 100, 110)]
    found = processes.memory_of(parts)
    assert (found["peak_bytes"], found["peak_low_bytes"], found["peak_high_bytes"]) == (110, 100, 130)


def test_energy_needs_every_process() -> None:
    metered = {**NO_ENERGY, "status": "measured", "energy_j": 2.0}
    parts = [{"energy": metered}, {"energy": metered}]
    assert processes.energy_of(parts, 100)["per_run_j"] == pytest.approx(0.04)
    assert processes.energy_of([*parts, {"energy": NO_ENERGY}], 100)["energy_j"] is None


def test_a_protocol_sets_what_was_not_given() -> None:
    base = {"schema_version": 2, "artifact": "m.onnx"}
    strict = spec.from_dict({**base, "protocol": "strict"})
    assert (strict.min_runs_count, strict.min_duration_s, strict.processes_min_count) == (1024, 60.0, 10)
    assert spec.from_dict({**base, "protocol": "strict", "min_duration_s": 5.0}).min_duration_s == 5.0
    assert spec.from_dict({**base, "protocol": "quick", "min_duration_s": 90.0}).max_duration_s == 90.0
    assert spec.from_dict(strict.to_dict()) == strict
