"""Time per operator by ONNX Runtime's own profiler; what the other runtimes do not tell, and what they do."""

from pathlib import Path

import numpy as np
import pytest
from edgekit_runner import backends
from edgekit_runner.backends import OpCall, litert, onnxruntime
from edgekit_runner.errors import RunnerError, UserError
from edgekit_runner.kinds import _operator_times
from runner_models import write_onnx, write_onnx_int8, write_onnx_loop, write_tflite_mixed

FEEDS = {"x": np.ones((1, 64), np.float32)}


def test_onnx_operators_with_their_share_and_place(tmp_path: Path) -> None:
    write_onnx(tmp_path / "m.onnx", repeat=3)
    found = _operator_times.profile(onnxruntime, str(tmp_path / "m.onnx"), 1, {}, FEEDS, 5)
    assert sorted(row["op"] for row in found["ops"]) == ["MatMul"] * 3 + ["Relu"] * 3
    assert {row["calls_count"] for row in found["ops"]} == {5} and found["runs_count"] == 5
    assert sum(row["share_ratio"] for row in found["ops"]) == pytest.approx(1)
    totals = [row["total_s"] for row in found["ops"]]
    assert totals == sorted(totals, reverse=True) and found["total_s"] == pytest.approx(sum(totals))
    wanted = {"source": "profiler of ONNX Runtime", "reason": None, "nodes": {"CPUExecutionProvider": 6}}
    assert found["placement"] == wanted


def test_an_int8_model_shows_the_kernels_that_ran_and_not_those_of_the_file(tmp_path: Path) -> None:
    write_onnx_int8(tmp_path / "m.onnx", repeat=2)
    fused = _operator_times.profile(onnxruntime, str(tmp_path / "m.onnx"), 1, {}, FEEDS, 3)
    plain = _operator_times.profile(onnxruntime, str(tmp_path / "m.onnx"), 1, {"optimize": False}, FEEDS, 3)
    ops = [[row["op"] for row in found["ops"]] for found in (fused, plain)]
    assert ops[0].count("QLinearMatMul") == 2 and "MatMul" not in ops[0]
    assert ops[1].count("MatMul") == 2 and "QLinearMatMul" not in ops[1]


def test_the_time_of_a_loop_is_its_own_and_that_of_its_body_counts_once(tmp_path: Path) -> None:
    write_onnx_loop(tmp_path / "m.onnx", turns=8, width=256)
    feeds = {"x": np.ones((256, 256), np.float32)}
    found = _operator_times.profile(onnxruntime, str(tmp_path / "m.onnx"), 1, {}, feeds, 5)
    rows = {row["name"]: row for row in found["ops"]}
    assert rows["inner"]["calls_count"] == 40 and rows["loop"]["calls_count"] == 5
    # with its body the loop would have more than all the products together
    assert rows["loop"]["total_s"] < rows["inner"]["total_s"]


def event(name: str, ts: int, dur: int, cat: str = "Node") -> dict[str, object]:
    args = {"op_name": name.partition("_")[0], "provider": "P"}
    return {"name": name, "ts": ts, "dur": dur, "cat": cat, "args": args}


def test_nested_nodes_are_taken_off_at_every_depth() -> None:
    first = [event("warm_kernel_time", 0, 9), event("model_run", 0, 10, "Session")]
    inner = [event("a_kernel_time", 22, 3), event("b_kernel_time", 25, 5), event("Loop_kernel_time", 21, 10)]
    outer = [event("before_kernel_time", 20, 0), *inner, event("If_kernel_time", 20, 15)]
    after = [event("last_kernel_time", 35, 4), event("model_run", 20, 20, "Session")]
    found = onnxruntime.op_calls([*first, *outer, *after], 1)
    own = {call.name: round(call.seconds * 1e6) for call in found}
    assert own == {"before": 0, "a": 3, "b": 5, "Loop": 2, "If": 5, "last": 4}
    assert sum(own.values()) == 15 + 4  # what the two outermost nodes took


def test_runs_that_the_profiler_dropped_are_not_averaged_over() -> None:
    kept = [event("a_kernel_time", 0, 1), event("model_run", 0, 2, "Session")]
    with pytest.raises(RunnerError, match="kept 1 of 4 runs"):
        onnxruntime.op_calls(kept, 3)


def test_a_model_that_does_not_run_is_a_failure_and_not_a_missing_profile(
    onnx_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RunnerError, match="failed to run"):
        _operator_times.profile(onnxruntime, str(onnx_model), 1, {}, {"x": np.ones((1, 3), np.float32)}, 2)
    assert list(tmp_path.iterdir()) == []


def test_profiling_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_onnx(tmp_path / "m.onnx")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    _operator_times.profile(onnxruntime, "m.onnx", 1, {}, FEEDS, 1)
    assert list((tmp_path / "tmp").iterdir()) == [] and [p.name for p in tmp_path.glob("*.json")] == []


def test_litert_has_no_profile_and_still_tells_the_placement(tmp_path: Path) -> None:
    write_tflite_mixed(tmp_path / "m.tflite", ("FULLY_CONNECTED", "CUMSUM", "FULLY_CONNECTED"))
    found = _operator_times.profile(litert, str(tmp_path / "m.tflite"), 1, {}, {}, 3)
    assert found["source"] == "unavailable" and "benchmark_model" in found["reason"]
    assert found["ops"] == [] and found["total_s"] is None
    assert found["placement"]["nodes"] == {"delegate": 2, "built-in kernels": 1}
    assert found["placement"]["source"] == "Interpreter._get_ops_details"


def test_a_placement_that_nothing_tells_is_unknown_with_the_reason(onnx_model: Path) -> None:
    found = _operator_times.placement_by_node(onnxruntime, str(onnx_model), 1, {}, {}, None)
    assert found["source"] == "unknown" and found["nodes"] is None and "does not tell" in found["reason"]


def test_wrong_options_are_not_taken_for_a_missing_profile(onnx_model: Path) -> None:
    with pytest.raises(UserError, match="no option"):
        _operator_times.profile(onnxruntime, str(onnx_model), 1, {"speed": 1}, FEEDS, 3)


def test_rows_are_summed_by_node_and_place() -> None:
    calls = [OpCall(name="a", op="Conv", where=where, seconds=1.0) for where in ("gpu", "cpu", "gpu")]
    found = _operator_times.summarize(calls, "test", 3)
    assert [(row["where"], row["total_s"]) for row in found["ops"]] == [("gpu", 2.0), ("cpu", 1.0)]


def test_an_unknown_provider_lists_what_there_is(onnx_model: Path) -> None:
    for given in ("CUDAExecutionProvider", "", [], 3):
        with pytest.raises(UserError, match="CPUExecutionProvider"):
            onnxruntime.open(str(onnx_model), 1, {"providers": given})


def test_placement_names_what_was_asked_for_and_refused(onnx_model: Path) -> None:
    session = onnxruntime.open(str(onnx_model), 1, {"providers": "CPUExecutionProvider"})
    found = session.placement()
    assert (
        found["refused_providers"] == [] and found["nodes"] is None and "not asked" in found["nodes_reason"]
    )
    session._asked = ["NoExecutionProvider", "CPUExecutionProvider"]
    assert session.placement()["refused_providers"] == ["NoExecutionProvider"]


@pytest.mark.parametrize("name", backends.names())
def test_choices_are_options_with_values(name: str) -> None:
    module = backends.load(name)
    for option, values in module.choices().items():
        assert option in module.OPTIONS and len(values) >= 1
