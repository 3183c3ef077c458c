"""The counters of a timed window: arithmetic on faked trees, and the real machine."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgekit_runner.stats import window
from edgekit_runner.stats.validity import judge
from edgekit_runner.stats.window import Window
from machine_tree import write_tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
TICKS = os.sysconf("SC_CLK_TCK")
KEYS = {
    "wall_s", "cpu_s", "cpu_pressure_s", "run_queue_wait_s", "steal_s", "other_busy_s",
    "involuntary_switches_count", "major_faults_count", "throttled_count", "throttled_s", "frequency_start_hz",
    "frequency_end_hz", "temperature_start_celsius", "temperature_end_celsius", "usable_cpu_count",
}  # fmt: skip
DECISIVE = ("cpu_pressure_s", "run_queue_wait_s", "steal_s", "other_busy_s")


def stat(*rows: tuple[int, ...]) -> str:
    """/proc/stat with these CPUs in seconds of each field, and their sum in the first line."""
    total = [sum(column) for column in zip(*rows, strict=True)]
    lines = [("cpu", total), *((f"cpu{i}", row) for i, row in enumerate(rows))]
    text = "\n".join(f"{name}  {' '.join(str(value * TICKS) for value in row)}" for name, row in lines)
    return f"{text}\nintr 9 9 9\nctxt 5\n"


def between(root: Path, first: dict[str, str], last: dict[str, str]) -> dict[str, float | int | None]:
    """A window during which the tree went from `first` to `last`."""
    write_tree(root, first)
    counters = Window(root)
    counters.begin()
    write_tree(root, last)
    return counters.end()


def test_an_empty_tree_gives_none_for_all_that_only_the_system_knows(tmp_path: Path) -> None:
    found = between(tmp_path, {}, {})
    assert set(found) == KEYS
    own = {"wall_s", "cpu_s", "involuntary_switches_count", "major_faults_count", "usable_cpu_count"}
    assert {key for key, value in found.items() if value is not None} == own


def test_busy_and_steal_are_seconds_of_the_fields_that_are_work(tmp_path: Path) -> None:
    """user, nice, system, irq, softirq; not idle, iowait, nor guests, who are part of user."""
    first = stat((0,) * 10, (0,) * 10)
    last = stat((1, 2, 4, 100, 200, 8, 16, 32, 1, 1), (0,) * 10)
    found = between(tmp_path, {"proc/stat": first}, {"proc/stat": last})
    assert found["other_busy_s"] == pytest.approx(31.0, abs=0.5)  # less our own CPU time
    assert found["steal_s"] == 32.0


def test_only_cpus_that_this_process_may_use_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "usable_cpus", lambda: (1,))
    last = stat((70, 0, 0, 0, 0, 0, 0, 7), (3, 0, 0, 0, 0, 0, 0, 1))
    found = between(tmp_path, {"proc/stat": stat((0,) * 8, (0,) * 8)}, {"proc/stat": last})
    assert found["other_busy_s"] == pytest.approx(3.0, abs=0.5)
    assert found["steal_s"] == 1.0 and found["usable_cpu_count"] == 1


def test_an_old_kernel_without_steal_still_shows_busy_time(tmp_path: Path) -> None:
    found = between(tmp_path, {"proc/stat": stat((0, 0, 0, 0))}, {"proc/stat": stat((2, 0, 0, 0))})
    assert found["steal_s"] is None and found["other_busy_s"] == pytest.approx(2.0, abs=0.5)


def test_a_machine_less_busy_than_this_process_is_not_believed(tmp_path: Path) -> None:
    """Some sandboxes write a /proc/stat of zeros: that would read as a quiet machine."""
    write_tree(tmp_path, {"proc/stat": stat((0,) * 8, (0,) * 8)})
    counters = Window(tmp_path)
    counters.begin()
    end = time.process_time() + 0.25
    while time.process_time() < end:
        pass
    found = counters.end()
    assert found["other_busy_s"] is None and found["steal_s"] is None


def test_pressure_is_the_some_line_and_waiting_is_in_seconds(tmp_path: Path) -> None:
    line = "{} avg10=0.00 avg60=0.00 avg300=0.00 total={}\n"
    first = {
        "proc/pressure/cpu": line.format("some", 1_000_000) + line.format("full", 0),
        "proc/self/task/1/schedstat": "1 2000000000 3",
    }
    last = {
        "proc/pressure/cpu": line.format("some", 1_250_000) + line.format("full", 9_000_000),
        "proc/self/task/1/schedstat": "1 2125000000 3",
    }
    found = between(tmp_path, first, last)
    assert found["cpu_pressure_s"] == pytest.approx(0.25)
    assert found["run_queue_wait_s"] == pytest.approx(0.125)


def test_throttling_of_a_v2_cgroup_and_of_those_above_it_adds_up(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/pod/"
    text = "usage_usec 1\nnr_periods 9\nnr_throttled {}\nthrottled_usec {}\n"
    first = {
        "proc/self/cgroup": "0::/pod/run\n",
        top + "cpu.stat": text.format(1, 500_000),
        top + "run/cpu.stat": text.format(10, 0),
        "sys/fs/cgroup/other/cpu.stat": text.format(0, 0),
    }
    last = {
        top + "cpu.stat": text.format(2, 750_000),
        top + "run/cpu.stat": text.format(13, 250_000),
        "sys/fs/cgroup/other/cpu.stat": text.format(99, 99_000_000),
    }
    found = between(tmp_path, first, last)
    assert found["throttled_count"] == 4 and found["throttled_s"] == pytest.approx(0.5)


def test_throttling_of_a_v1_cgroup_is_in_nanoseconds(tmp_path: Path) -> None:
    stats = "sys/fs/cgroup/cpu,cpuacct/job/cpu.stat"
    text = "nr_periods 9\nnr_throttled {}\nthrottled_time {}\n"
    first = {"proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/job\n", stats: text.format(0, 0)}
    found = between(tmp_path, first, {stats: text.format(5, 1_500_000_000)})
    assert found["throttled_count"] == 5 and found["throttled_s"] == pytest.approx(1.5)


def test_a_group_without_a_quota_has_no_throttling(tmp_path: Path) -> None:
    first = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.stat": "usage_usec 5\nuser_usec 3\n"}
    found = between(tmp_path, first, {})
    assert found["throttled_count"] == 0 and found["throttled_s"] == 0.0


def test_clock_and_heat_are_taken_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit_runner.host.sensors.usable_cpus", lambda: (0,))
    clock = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    heat = "sys/class/thermal/thermal_zone0/temp"
    found = between(tmp_path, {clock: "3000000", heat: "50000"}, {clock: "2000000", heat: "70000"})
    assert (found["frequency_start_hz"], found["frequency_end_hz"]) == (3e9, 2e9)
    assert (found["temperature_start_celsius"], found["temperature_end_celsius"]) == (50.0, 70.0)


def test_counters_that_step_back_give_zero(tmp_path: Path) -> None:
    task = "proc/self/task/1/schedstat"
    found = between(tmp_path, {task: "1 2000000000 3"}, {task: "1 1000000000 3"})
    assert found["run_queue_wait_s"] == 0.0


def test_a_real_window_is_finite_not_negative_and_ready_for_json() -> None:
    counters = Window()
    counters.begin()
    sum(range(100_000))
    found = counters.end()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == KEYS
    assert all(value is None or (math.isfinite(value) and value >= 0) for value in found.values())
    assert found["wall_s"] and found["cpu_s"] and found["usable_cpu_count"]


def test_real_cpu_time_of_this_process_is_not_work_of_others() -> None:
    """True however busy the machine is: others cannot have more than all CPUs less what we had."""
    counters = Window()
    counters.begin()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    found = counters.end()
    assert found["cpu_s"] is not None and found["cpu_s"] >= 0.3
    assert found["wall_s"] is not None and found["usable_cpu_count"] is not None
    if found["other_busy_s"] is not None:
        whole = found["wall_s"] * found["usable_cpu_count"]
        assert found["other_busy_s"] <= whole - found["cpu_s"] + 0.1 * (1 + found["usable_cpu_count"])


@pytest.fixture
def busy_children() -> Iterator[None]:
    """As many endless processes as CPUs, all of them running when the test begins."""
    code = "print(flush=True)\nwhile True: pass"
    count = len(os.sched_getaffinity(0))
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for child in children:
            assert child.stdout is not None and child.stdout.readline() == b"\n"
        yield
    finally:
        for child in children:
            child.kill()
            child.communicate()


def test_busy_processes_on_every_cpu_always_disturb(busy_children: None) -> None:
    """Cannot miss: all CPUs are busy and we hold one of them at most, so others hold the rest."""
    counters = Window()
    counters.begin()
    end = time.perf_counter() + 0.5
    while time.perf_counter() < end:
        pass
    found = counters.end()
    assert any(found[key] is not None for key in DECISIVE), "this machine shows nothing to judge by"
    verdict = judge(found, 1, 0.001, 0.001, 0.001, 0.001)
    assert verdict.verdict == "disturbed" and verdict.external, found
    assert any(cause.endswith(".") and any(c.isdigit() for c in cause) for cause in verdict.causes)
