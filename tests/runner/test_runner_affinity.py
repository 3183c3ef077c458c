"""CPU lists, big and little cores of a faked machine, batch sizes, memory that is not there."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from edgekit_runner import feeds
from edgekit_runner.backends import TensorInfo
from edgekit_runner.errors import RunnerError, UserError
from edgekit_runner.host import affinity, capacity
from runner_models import cli, last_record, write_onnx

pytestmark = pytest.mark.long

USABLE = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
needs_affinity = pytest.mark.skipif(len(USABLE) < 2, reason="needs two CPUs and sched_setaffinity")


def sized(root: Path, name: str, values: dict[int, int]) -> Path:
    for cpu, value in values.items():
        path = root / "sys/devices/system/cpu" / f"cpu{cpu}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


@needs_affinity
def test_lists_and_ranges_name_cpus() -> None:
    first, second = USABLE[:2]
    assert affinity.resolve(f"{second},{first}") == (first, second)
    assert affinity.resolve("all") == tuple(USABLE)
    if second == first + 1:
        assert affinity.resolve(f"{first}-{second}") == (first, second)


@needs_affinity
@pytest.mark.parametrize("text", ["", "x", "0-", "1-x", "-1", "4096", "3-2", "0,,1", "0-999999999999"])
def test_other_texts_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UserError, match=r"allowed|may use"):
        affinity.resolve(text)


@needs_affinity
@pytest.mark.parametrize("name", ["cpu_capacity", "cpufreq/cpuinfo_max_freq"])
def test_big_and_little_cores_are_told_by_what_the_system_shows(tmp_path: Path, name: str) -> None:
    values = dict.fromkeys(USABLE, 400) | {USABLE[-1]: 1024}
    root = sized(tmp_path, name, values)
    assert affinity.resolve("big", root) == (USABLE[-1],)
    assert affinity.resolve("little", root) == tuple(USABLE[:-1])


@needs_affinity
def test_equal_cores_are_neither_big_nor_little(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no cores of different size"):
        affinity.resolve("big", sized(tmp_path, "cpu_capacity", dict.fromkeys(USABLE, 1024)))


@needs_affinity
def test_the_worker_runs_where_it_was_told(onnx_model: Path) -> None:
    wanted = USABLE[-1]
    done = cli(
        "bench", onnx_model, "--affinity", wanted, "--protocol", "quick", "--seconds", "0.01", "--json"
    )
    found = last_record(done)
    assert found["status"] == "ok" and found["protocol"]["affinity"] == str(wanted)
    assert {process["window"]["usable_cpu_count"] for process in found["processes"]} == {1}


def info(*shape: int) -> TensorInfo:
    return TensorInfo(name="x", shape=shape, dtype="float32")


def test_feeds_are_repeated_up_to_the_batch() -> None:
    given = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    found = feeds.with_batch((info(-1, 3),), given, 5)["x"]
    assert found.shape == (5, 3) and np.array_equal(found[2:4], given["x"])
    assert feeds.with_batch((info(2, 3),), given, 2)["x"].shape == (2, 3)


@pytest.mark.parametrize("shape", [(1, 3), ()])
def test_a_fixed_batch_is_said(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"fixed batch of (1|none), asked was 4"):
        feeds.with_batch((info(*shape),), {"x": np.zeros(shape, np.float32)}, 4)


def test_free_axes_behind_the_first_get_the_length() -> None:
    given = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.ones((2, 4), np.float32)}
    inputs = (info(-1, -1), TensorInfo(name="y", shape=(-1, 4), dtype="float32"))
    found = feeds.resized(inputs, given, 1, 5)
    assert np.array_equal(found["x"], [[0, 1, 2, 0, 1]]) and found["y"].shape == (1, 4)
    assert feeds.resized(inputs, given, None, 2)["x"].shape == (2, 2)


def test_a_fixed_length_is_said() -> None:
    with pytest.raises(
        UserError, match=r"no input has a free axis behind the first \(x \[-1, 3\]\), asked was a length of 8"
    ):
        feeds.with_length((info(-1, 3),), {"x": np.zeros((1, 3), np.float32)}, 8)


def test_a_larger_batch_takes_longer(tmp_path: Path) -> None:
    write_onnx(tmp_path / "free.onnx", width=128, batch="n", repeat=4)
    quick = ("--protocol", "quick", "--seconds", "0.05", "--json")
    one, many = (
        last_record(cli("bench", tmp_path / "free.onnx", "--batch", count, *quick)) for count in (1, 64)
    )
    assert many["protocol"]["batch_count"] == 64
    assert many["latency"]["cpu_min_s"] > 2 * one["latency"]["cpu_min_s"]


def machine(root: Path, available_kib: int, group: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 9999999 kB\nMemAvailable: {available_kib} kB\n")
    (root / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_model_larger_than_memory_is_refused_with_both_figures(tmp_path: Path) -> None:
    root = machine(tmp_path, 2_000_000, "")
    capacity.memory_guard(2_000_000_000, root)
    with pytest.raises(RunnerError, match=r"9\.1 GB and 2\.05 GB"):
        capacity.memory_guard(9_100_000_000, root)


def test_the_limit_of_a_cgroup_counts(tmp_path: Path) -> None:
    two = machine(
        tmp_path / "v2", 2_000_000, "0::/a/b", a__memory_dot_max="1000", a__memory_dot_current="400"
    )
    assert capacity.available_bytes(two) == 600
    free = machine(tmp_path / "free", 2_000, "0::/a", a__memory_dot_max="max", a__memory_dot_current="400")
    assert capacity.available_bytes(free) == 2_048_000
    old = {"memory__a__memory_dot_limit_in_bytes": "500", "memory__a__memory_dot_usage_in_bytes": "700"}
    assert capacity.available_bytes(machine(tmp_path / "v1", 2_000, "4:memory:/a", **old)) == 0


def test_files_that_a_cgroup_merely_caches_leave_room(tmp_path: Path) -> None:
    """The model itself, hashed a moment ago, is among them."""
    stat = "anon 100\nfile 350\nshmem 50\nactive_file 100\ninactive_file 200\n"
    two = {"a__memory_dot_max": "1000", "a__memory_dot_current": "450", "a__memory_dot_stat": stat}
    assert capacity.available_bytes(machine(tmp_path / "v2", 2_000, "0::/a", **two)) == 850
    stat = "cache 9\nactive_file 7\ntotal_cache 350\ntotal_active_file 100\ntotal_inactive_file 200\n"
    old = {
        "memory__memory_dot_limit_in_bytes": "1000",
        "memory__memory_dot_usage_in_bytes": "450",
        "memory__memory_dot_stat": stat,
    }
    assert capacity.available_bytes(machine(tmp_path / "v1", 2_000, "4:memory:/", **old)) == 850


def test_this_machine_tells_less_than_it_has_in_all() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines() if sys.platform == "linux" else []
    total = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")), None)
    found = capacity.available_bytes()
    assert found is not None and found > 0 and (total is None or found <= total)
    capacity.memory_guard(1)


def test_memory_that_nobody_tells_refuses_nothing(tmp_path: Path) -> None:
    assert capacity.available_bytes(tmp_path) is None
    capacity.memory_guard(10**18, tmp_path)
