"""LoadGen: its log as a record, its verdicts as doubts, real scenarios, and nothing left behind."""

import json
import platform
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from edgekit_runner import api, record, spawn
from edgekit_runner.errors import RunnerError
from edgekit_runner.kinds import _loadgen_log, loadgen
from runner_models import QUICK, cli, write_onnx
from test_runner_process import keys_without_unit

pytestmark = pytest.mark.skipif(
    sys.platform == "linux" and platform.machine() != "x86_64", reason="LoadGen has no wheel for it"
)
SINGLE = {
    "loadgen_version": "6.0.17 @ abc", "generated_samples_per_query": 1, "result_validity": "VALID",
    "result_min_duration_met": True, "result_min_queries_met": True, "early_stopping_met": True,
    "early_stopping_result": " * Processed at least 64 queries (201).  * Would discard 9.",
    "result_query_count": 201, "result_qps_with_loadgen_overhead": 199.8, "early_stopping_latency_ss": 5007689,
    "result_min_latency_ns": 5001119, "result_mean_latency_ns": 5002425, "result_max_latency_ns": 5022732,
    "result_50.00_percentile_latency_ns": 5001571, "result_90.00_percentile_latency_ns": 5004725,
    "result_95.00_percentile_latency_ns": 5007498, "result_99.00_percentile_latency_ns": 5013208,
}  # fmt: skip
INVALID = {
    "result_validity": "INVALID", "result_min_duration_met": False, "result_min_queries_met": False,
    "early_stopping_met": False, "early_stopping_result": " * Only processed 10 queries.",
    "result_invalid_reason": "Decrease the expected latency. ",
}  # fmt: skip
SPEC = loadgen.Spec(artifact="m.onnx", duration_s=0.05, min_runs_count=10)


def lines(entries: dict[str, Any], error: str | None = None) -> list[str]:
    """A detail log as LoadGen writes it."""
    meta = {"is_error": False, "is_warning": False}
    out = [json.dumps({"key": key, "value": value, "metadata": meta}) for key, value in entries.items()]
    if error is not None:
        out.append(json.dumps({"key": "error_runtime", "value": error, "metadata": {"is_error": True}}))
    return ["# not a line of the log", *(f":::MLLOG {text}\n" for text in out), ':::MLLOG {"key": "cut', ""]


def test_the_log_is_read_as_it_stands() -> None:
    found = _loadgen_log.summarize(_loadgen_log.parse(lines(SINGLE)), "SingleStream")
    assert found["result_valid"] and found["invalid_reasons"] == [] and _loadgen_log.of_result(found) == []
    assert (found["queries_count"], found["samples_count"]) == (201, 201)
    assert found["p50_s"] == pytest.approx(5.001571e-3) and found["p90_s"] == pytest.approx(5.004725e-3)
    assert found["early_stopping_p90_s"] == pytest.approx(5.007689e-3)
    assert found["version"] == "6.0.17 @ abc" and found["samples_per_second_hz"] == 199.8


def test_a_percentile_that_loadgen_gives_of_too_few_queries_is_withheld() -> None:
    found = _loadgen_log.summarize(_loadgen_log.parse(lines(SINGLE)), "SingleStream")
    assert found["p95_s"] is not None and found["p99_s"] is None and "n=201 < 1000" in found["p99_reason"]


def test_offline_has_a_rate_and_no_latency_of_a_query() -> None:
    log = {
        **SINGLE,
        "result_query_count": 1,
        "generated_samples_per_query": 440,
        "result_samples_per_second": 88.0,
    }
    found = _loadgen_log.summarize(_loadgen_log.parse(lines(log)), "Offline")
    assert (found["samples_count"], found["samples_per_second_hz"]) == (440, 88.0)
    assert found["p50_s"] is found["p90_s"] is found["early_stopping_p90_s"] is None
    assert "Offline" in found["p90_reason"]


def test_an_invalid_result_is_a_doubt_with_all_its_reasons() -> None:
    log = _loadgen_log.parse(lines({**SINGLE, **INVALID}, error="Ran out of generated queries."))
    found = _loadgen_log.summarize(log, "SingleStream")
    doubt = _loadgen_log.of_result(found)[0]
    assert not found["result_valid"] and doubt.startswith("LoadGen calls this result invalid: ")
    for part in ("least duration", "too few queries", "Only processed 10 queries", "Decrease", "Ran out"):
        assert part in doubt


@pytest.mark.parametrize("key", ["result_validity", "result_query_count", "result_qps_with_loadgen_overhead"])
def test_a_log_without_a_result_is_none(key: str) -> None:
    rest = {name: value for name, value in SINGLE.items() if name != key}
    with pytest.raises(RunnerError, match="no result"):
        _loadgen_log.summarize(_loadgen_log.parse(lines(rest)), "SingleStream")


def test_an_error_of_the_runtime_does_not_cross_loadgen() -> None:
    def invoke() -> None:
        calls.append(1)
        if len(calls) > 20:
            raise RunnerError("the runtime failed.")

    calls: list[int] = []
    model = loadgen._Model(SimpleNamespace(invoke=invoke), 1)  # type: ignore[arg-type]
    log = loadgen._test(model, SPEC, 1e-3)
    assert "result_validity" in log and str(model.error) == "the runtime failed." and len(calls) == 21


def left_in(folder: Path) -> list[Path]:
    """What the runner left; `.ses` is of the telemetry of ONNX Runtime."""
    return [path for path in folder.iterdir() if path.name != ".ses"]


def run(path: Path, **more: Any) -> record.AnyRecord:
    return api.run({**QUICK, "artifact": str(path), "kind": "loadgen", "duration_s": 0.2, **more})


def test_a_real_single_stream(
    onnx_model: Path, onnx_golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = run(onnx_model, golden=str(onnx_golden), min_runs_count=64)
    result = found["loadgen"]
    assert found["status"] == "ok", found["reason"]
    assert found["golden"]["status"] == "passed" and result["result_valid"], found["doubts"]
    assert result["queries_count"] >= 64 and 0 < result["p50_s"] <= result["p90_s"]
    assert 0 < result["inference_p50_s"] <= result["p50_s"] * 1.5
    assert keys_without_unit(found) == [] and record.read(record.to_line(found)) == found
    assert left_in(tmp_path) == []


def test_a_real_offline_run_counts_samples_of_a_batch(tmp_path: Path) -> None:
    write_onnx(tmp_path / "free.onnx", batch="n")
    found = run(tmp_path / "free.onnx", scenario="Offline", batch_count=8, min_runs_count=1000)
    assert found["status"] == "ok", found["reason"]
    assert found["loadgen"]["samples_count"] >= 1000 and found["loadgen"]["samples_per_second_hz"] > 0


def test_what_loadgen_calls_invalid_is_doubted(tmp_path: Path) -> None:
    write_onnx(tmp_path / "slow.onnx", width=512, repeat=24)  # not 64 times in a millisecond
    found = run(tmp_path / "slow.onnx", duration_s=0.001, min_runs_count=1)
    assert found["status"] == "ok" and not found["loadgen"]["result_valid"]
    assert any("64 queries" in doubt for doubt in found["doubts"])


def test_a_time_out_leaves_no_folder(
    onnx_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = run(onnx_model, duration_s=60.0, timeout_s=3.0)
    assert found["error_kind"] == "timeout" and left_in(tmp_path) == []


def test_without_the_extra_the_pip_line_is_the_answer(
    onnx_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = "import sys\nsys.modules['mlperf_loadgen'] = None\n"
    monkeypatch.setattr(spawn, "BOOTSTRAP", hidden + spawn.BOOTSTRAP)
    found = run(onnx_model)
    assert record.exit_code(found) == 3 and "pip install edgekit-runner[loadgen]" in found["reason"]


def test_the_verb_says_what_loadgen_says(onnx_model: Path) -> None:
    done = cli("loadgen", onnx_model, "--seconds", 0.2, "--samples", 64)
    assert done.returncode == 0, done.stderr
    assert "SingleStream: valid" in done.stdout and "samples/s" in done.stdout and "median" in done.stdout
    wrong = cli("loadgen", onnx_model, "--scenario", "Server")
    assert wrong.returncode == 2 and "SingleStream, Offline" in wrong.stderr
    batch = cli("loadgen", onnx_model, "--batch", 4)
    assert batch.returncode == 2 and "one sample at a time" in batch.stderr
