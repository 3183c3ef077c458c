"""Several processes at once: the arithmetic of a row, real rows, and every way in which an instance can fail."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from edgekit_runner import api, record, spawn
from edgekit_runner.errors import UserError
from edgekit_runner.host import capacity
from edgekit_runner.kinds import throughput
from edgekit_runner.spec import from_dict
from runner_models import QUICK, cli
from test_runner_process import keys_without_unit

pytestmark = pytest.mark.long

WINDOW = {
    "wall_s": 2.0, "cpu_s": 2.0, "steal_s": 0.0, "cpu_pressure_s": 0.0, "run_queue_wait_s": 0.0,
    "involuntary_switches_count": 0, "major_faults_count": 0, "throttled_count": 0, "throttled_s": 0.0,
    "other_busy_s": 0.0, "frequency_start_hz": None, "frequency_end_hz": None,
    "temperature_start_celsius": None, "temperature_end_celsius": None, "usable_cpu_count": 4,
}  # fmt: skip


def group(count: int, runs: int = 100, uss: int | None = 10, **window: Any) -> list[dict[str, Any]]:
    """Records of `count` instances that ran for 2 s on four CPUs."""
    one = {
        "start_s": 0.0, "end_s": 2.0, "runs_count": runs, "p50_s": 0.02, "cpu_p50_s": 0.02, "cpu_s": 2.0,
        "peak_bytes": 30, "uss_bytes": uss, "window": {**WINDOW, "other_busy_s": 2.0 * (count - 1), **window},
    }  # fmt: skip
    return [{"throughput": dict(one)} for _ in range(count)]


def test_a_row_adds_up_its_instances() -> None:
    pair = group(2)
    pair[1]["throughput"] |= {"start_s": 0.1, "end_s": 2.5, "runs_count": 50, "p50_s": 0.04}
    row = throughput.summarize([pair], 1)[0]
    assert row["runs_count"] == 150 and row["window_s"] == 2.5
    assert row["inferences_per_second_hz"] == pytest.approx(60.0)
    assert (row["p50_low_s"], row["p50_high_s"]) == (0.02, 0.04) and row["p50_s"] == pytest.approx(0.03)
    assert row["cpu_per_inference_s"] == pytest.approx(4.0 / 150)
    assert (row["peak_sum_bytes"], row["uss_sum_bytes"]) == (60, 20)


def test_scaling_is_against_one_instance_and_null_without_it() -> None:
    rows = throughput.summarize([group(4, runs=75), group(1)], 1)
    assert rows[0]["scaling_ratio"] == pytest.approx(3.0)
    assert rows[0]["efficiency_ratio"] == pytest.approx(0.75) and rows[1]["scaling_ratio"] == 1.0
    assert throughput.summarize([group(2)], 1)[0]["scaling_ratio"] is None


def test_instances_are_not_work_of_others() -> None:
    assert throughput.summarize([group(2)], 1)[0]["verdict"] == "ok"
    row = throughput.summarize([group(2, other_busy_s=5.9)], 1)[0]  # 2 s of the sibling, 3.9 s of others
    assert row["verdict"] == "disturbed" and "1.95 CPUs of 4" in row["causes"][0]
    blind = dict.fromkeys(("other_busy_s", "steal_s", "cpu_pressure_s", "run_queue_wait_s"))
    assert throughput.summarize([group(2, **blind)], 1)[0]["verdict"] == "unknown"


def test_more_instances_than_cpus_wait_for_each_other_undisturbed() -> None:
    crowd = group(8, run_queue_wait_s=1.0, cpu_pressure_s=2.0, cpu_s=1.0, other_busy_s=7.0)
    assert throughput.summarize([crowd], 1)[0]["verdict"] == "ok"
    few = group(2, run_queue_wait_s=1.0)
    assert throughput.summarize([few], 1)[0]["verdict"] == "disturbed"


def test_an_unreadable_uss_makes_no_sum() -> None:
    assert throughput.summarize([group(2, uss=None)], 1)[0]["uss_sum_bytes"] is None


@pytest.fixture(scope="module")
def real(onnx_model: Path, onnx_golden: Path) -> record.AnyRecord:
    spec = {**QUICK, "artifact": str(onnx_model), "golden": str(onnx_golden), "duration_s": 0.3}
    return api.run({**spec, "kind": "throughput", "instances_count": [1, 2]})


def test_real_instances_run_side_by_side(real: record.AnyRecord) -> None:
    assert real["status"] == "ok", real["reason"]
    one, two = real["throughput"]["rows"]
    assert (
        (one["instances_count"], two["instances_count"])
        == (1, 2)
        == tuple(real["protocol"]["instances_count"])
    )
    assert two["runs_count"] == sum(item["runs_count"] for item in two["instances"])
    assert max(item["start_s"] for item in two["instances"]) < min(item["end_s"] for item in two["instances"])
    assert all(item["end_s"] - item["start_s"] >= 0.3 for item in two["instances"])
    assert two["peak_sum_bytes"] > two["uss_sum_bytes"] > two["instances"][0]["uss_bytes"] > 1 << 20
    assert two["scaling_ratio"] == pytest.approx(
        two["inferences_per_second_hz"] / one["inferences_per_second_hz"]
    )
    assert real["golden"]["status"] == "passed" and any("sum" in doubt for doubt in real["doubts"])


def test_the_record_keeps_its_rules(real: record.AnyRecord) -> None:
    assert keys_without_unit(real) == []
    assert record.read(record.to_line(real))["throughput"] == real["throughput"]
    assert record.exit_code(real) == 0


def no_child() -> bool:
    """Whether no worker is left; the servers of the test session are no workers."""
    left = psutil.Process().children(recursive=True)
    return not [each for each in left if "edgekit.engine.server" not in " ".join(each.cmdline())]


def one_worker_that(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: str = "") -> None:
    """The first worker to make the folder runs `code` instead; the others run `others`, or what they should."""
    chosen = f"import os, sys, time\nfirst = {str(tmp_path / 'first')!r}\ntry:\n    os.mkdir(first)\n"
    chosen += f"    mine = True\nexcept OSError:\n    mine = False\nif mine:\n    {code}\n"
    monkeypatch.setattr(spawn, "BOOTSTRAP", chosen + (others or spawn.BOOTSTRAP))


READY = "sys.stdin.readline(); print('ready', flush=True); sys.stdin.readline(); "
HANG = "import time\ntime.sleep(60)\n"


@pytest.mark.parametrize(
    ("code", "others", "said"),
    [
        ("os.kill(os.getpid(), 9)", "", "SIGKILL"),
        ("print('last words', file=sys.stderr); sys.exit(7)", HANG, "exit code 7"),
        (READY + "os.kill(os.getpid(), 11)", "import sys, time\n" + READY + HANG, "SIGSEGV"),
    ],
)
def test_the_others_end_with_the_one_that_died(
    code: str, others: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_worker_that(code, tmp_path, monkeypatch, others)
    start = time.monotonic()
    found = api.throughput({"artifact": "none.onnx", "instances_count": [3], "duration_s": 30.0})
    assert (found["status"], found["throughput"]) == ("failed", None)
    assert said in found["reason"] and found["reason"].startswith("instance ")
    assert time.monotonic() - start < 20 and no_child()


def test_instances_that_hang_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "BOOTSTRAP", HANG)
    found = api.throughput({"artifact": "m.onnx", "instances_count": [2], "timeout_s": 0.5})
    assert found["error_kind"] == "timeout" and "timeout_s = 0.5" in found["reason"] and no_child()


def test_a_wrong_output_is_not_counted(onnx_model: Path, onnx_golden: Path, tmp_path: Path) -> None:
    with np.load(onnx_golden) as arrays:
        np.savez(tmp_path / "wrong.npz", input_0=arrays["input_0"], output_0=arrays["output_0"] + 0.5)
    spec = {**QUICK, "artifact": str(onnx_model), "golden": str(tmp_path / "wrong.npz"), "duration_s": 0.2}
    found = api.throughput({**spec, "instances_count": [2]})
    assert (found["status"], found["error_kind"], found["throughput"]) == ("refused", "verification", None)
    assert "of 2: " in found["reason"] and no_child()


def test_rows_that_were_complete_survive_a_later_failure(
    onnx_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "available_bytes", lambda: 64 << 20)
    spec = {**QUICK, "artifact": str(onnx_model), "duration_s": 0.1, "instances_count": [1, 200]}
    found = api.throughput(spec)
    assert found["status"] == "failed" and "200 instances need some" in found["reason"]
    assert [row["instances_count"] for row in found["throughput"]["rows"]] == [1]


@pytest.mark.parametrize("counts", [[], [0], [1.5], [True], 2, "1,2", [257], None])
def test_only_lists_of_sensible_counts_are_understood(counts: object) -> None:
    with pytest.raises(UserError, match="instances_count"):
        from_dict({"schema_version": 2, "artifact": "m", "kind": "throughput", "instances_count": counts})


def test_a_long_duration_lifts_the_time_out() -> None:
    spec = from_dict({"schema_version": 2, "artifact": "m", "kind": "sustain", "duration_s": 3600.0})
    assert spec.timeout_s > 3600.0
    given = {"schema_version": 2, "artifact": "m", "duration_s": 3600.0, "timeout_s": 5.0}
    assert from_dict(given).timeout_s == 5.0


def test_the_verb_prints_a_line_for_each_count(onnx_model: Path) -> None:
    done = cli("throughput", onnx_model, "--instances", "1,2", "--seconds", 0.2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("inferences/s") == 2 and "x of 1)" in done.stdout and "USS" in done.stdout
    wrong = cli("throughput", onnx_model, "--instances", "two")
    assert wrong.returncode == 2 and "--instances" in wrong.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the workers")
def test_a_killed_caller_takes_all_instances_along(onnx_model: Path) -> None:
    code = f"from edgekit_runner import api; api.throughput({{'artifact': {str(onnx_model)!r}, "
    code += "'duration_s': 60.0, 'instances_count': [2]})"
    caller = psutil.Popen(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(spawn.Path(spawn.__file__).parents[1])}
    )
    workers: list[psutil.Process] = []
    end = time.monotonic() + 30
    while len(workers) < 2 and time.monotonic() < end:
        workers = caller.children()
    caller.kill()
    caller.wait()
    assert len(workers) == 2 and psutil.wait_procs(workers, timeout=20)[1] == []
