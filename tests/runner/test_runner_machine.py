"""Environment, instruction set, memory samples, content hash."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from edgekit_runner import artifact
from edgekit_runner.errors import UserError
from edgekit_runner.host import environment, isa, memory
from runner_models import RUNNER

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize(
    ("machine", "flags", "wanted"),
    [
        ("x86_64", "sse2", "x86-64"), ("x86_64", "sse2 avx2", "avx2"), ("AMD64", "avx2 avx_vnni", "avx-vnni"),
        ("x86_64", "avx2 avx512f", "avx512"), ("x86_64", "avx2 avx512f avx512_vnni amx_int8", "avx512-vnni"),
        ("aarch64", "fp asimd", "arm-neon"), ("aarch64", "asimd asimddp", "arm-dotprod"),
        ("aarch64", "asimd asimddp i8mm sve", "arm-i8mm"), ("armv7l", "neon vfpv4", "arm-neon"),
        ("armv6l", "vfp", "unknown"),
        ("riscv64", "x", "unknown"),
    ],
)  # fmt: skip
def test_isa_classes(machine: str, flags: str, wanted: str) -> None:
    info = {"features" if isa.is_arm(machine) else "flags": flags}
    assert isa.isa_class(isa.isa_flags(info, machine), machine) == wanted
    assert wanted in isa.ISA_CLASSES


def test_only_x86_without_vnni_saturates() -> None:
    assert [name for name in isa.ISA_CLASSES if isa.int8_saturates(name)] == ["x86-64", "avx2", "avx512"]


def test_unreadable_flags_give_the_floor_of_the_architecture() -> None:
    assert isa.isa_class(None, "x86_64") == "x86-64"
    assert isa.isa_class(None, "aarch64") == "arm-neon"


def test_environment_leaves_nothing_out() -> None:
    found = environment.describe()
    assert all(value is not None and value != "" for value in found.values())
    assert found["isa"] == environment.local_isa() in isa.ISA_CLASSES


def test_environment_without_any_readable_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_read", lambda path: "unknown")
    found = environment.describe()
    assert found["governor"] == found["hypervisor"] == found["cgroup_quota_cpu_count"] == "unknown"
    assert set(found) == set(environment.describe())


@pytest.mark.parametrize(
    ("top", "leaf", "wanted"), [("max 100000", "150000 100000", 1.5), ("50000 100000", "max 100000", 0.5)]
)
def test_cgroup_v2_quota_is_the_least_on_the_way_up(
    tmp_path: Path, top: str, leaf: str, wanted: float
) -> None:
    group = tmp_path / "fs" / "a" / "b"
    group.mkdir(parents=True)
    (tmp_path / "fs" / "a" / "cpu.max").write_text(top)
    (group / "cpu.max").write_text(leaf)
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    assert environment.cgroup_quota(tmp_path / "fs", tmp_path / "cgroup") == wanted


def test_cgroup_v1_quota(tmp_path: Path) -> None:
    group = tmp_path / "fs" / "cpu,cpuacct"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("200000")
    (group / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/\n")
    assert environment.cgroup_quota(tmp_path / "fs", tmp_path / "cgroup") == 2.0
    (group / "cpu.cfs_quota_us").write_text("-1")
    assert environment.cgroup_quota(tmp_path / "fs", tmp_path / "cgroup") == "none"


@linux
def test_a_child_of_a_big_parent_reports_its_own_peak() -> None:
    """ru_maxrss is inherited through fork and exec; VmHWM is not."""
    child = (
        "import sys; sys.path.insert(0, sys.argv[1]); import resource; from edgekit_runner.host import memory; "
        "print(memory.sample().peak_bytes, resource.getrusage(0).ru_maxrss * 1024)"
    )
    parent = (
        "import subprocess, sys; ballast = bytearray(b'x') * (300 << 20); "
        "subprocess.run([sys.executable, '-I', '-c', sys.argv[2], sys.argv[1]], check=True)"
    )
    out = subprocess.check_output([sys.executable, "-c", parent, str(RUNNER), child], text=True)
    peak, inherited = map(int, out.split())
    assert peak < 100 << 20, "VmHWM holds the parent's memory"
    assert inherited > 300 << 20, "the trap is gone on this kernel: this test no longer proves anything"


@linux
def test_the_peak_can_be_reset_and_sees_a_spike() -> None:
    if not memory.reset_peak():
        pytest.skip("clear_refs is refused here")
    before = memory.sample()
    ballast = bytearray(b"x") * (64 << 20)
    del ballast
    after = memory.sample()
    assert after.peak_bytes is not None and before.peak_bytes is not None
    assert after.peak_bytes - before.peak_bytes > 48 << 20
    assert memory.reset_peak()
    reset = memory.sample()
    assert reset.peak_bytes is not None and reset.peak_bytes < after.peak_bytes - (32 << 20)


@linux
def test_memory_without_a_rollup_falls_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy("/proc/self/status", tmp_path / "status")
    monkeypatch.setattr(memory, "_SELF", tmp_path)
    found = memory.sample()
    assert found.rss_bytes and found.anonymous_bytes and found.uss_bytes is None
    (tmp_path / "status").unlink()
    assert set(vars(memory.sample()).values()) == {None}
    assert memory.reset_peak() in (True, False)


def test_package_hash_sees_every_file(tmp_path: Path) -> None:
    package = tmp_path / "m.mlpackage"
    (package / "Data" / "weights").mkdir(parents=True)
    (package / "Data" / "model.mlmodel").write_bytes(b"program")
    (package / "Data" / "weights" / "weight.bin").write_bytes(b"weights")
    (package / "Manifest.json").write_text("{1}")
    first = artifact.sha256(package)
    for name in ("Manifest.json", "extra.json"):
        (package / name).write_text("{2}")
        assert artifact.sha256(package) != first
    (package / "extra.json").unlink()
    (package / "Manifest.json").write_text("{1}")
    assert artifact.sha256(package) == first
    shutil.move(package, tmp_path / "other.mlpackage")
    assert artifact.sha256(tmp_path / "other.mlpackage") == first
    (tmp_path / "other.mlpackage" / "Data" / "model.mlmodel").write_bytes(b"Program")
    assert artifact.sha256(tmp_path / "other.mlpackage") != first


def test_artifact_that_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no artifact"):
        artifact.describe(tmp_path / "m.onnx", "onnx")
    (tmp_path / "m.onnx").touch()
    with pytest.raises(UserError, match="empty"):
        artifact.describe(tmp_path / "m.onnx", "onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UserError, match="without Data/"):
        artifact.describe(tmp_path / "folder.onnx", "onnx")
