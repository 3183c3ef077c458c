"""What the numbers were taken on. Standard library only; edgekit imports it for the instruction set.

What cannot be read is the word "unknown"; a key is never left out. Counts that can be fractional (a CPU
quota, a load average) are in CPUs.
"""

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit_runner.host import sensors
from edgekit_runner.host.isa import isa_class, isa_flags

UNKNOWN = "unknown"
_ALLOCATOR_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_CONF", "LD_PRELOAD",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """The machine, its limits and its state now, as the `environment` of a record."""
    info = cpuinfo()
    machine = platform.machine() or UNKNOWN
    flags = isa_flags(info, machine)
    return {
        "machine": machine,
        "cpu_model": _cpu_model(info),
        "cpu_logical_count": os.cpu_count() or UNKNOWN,
        "cpu_usable_count": _usable_cpus(),
        "isa": isa_class(flags, machine),
        "isa_flags": list(flags) if flags is not None else UNKNOWN,
        "emulated": _emulated(info, machine),
        "hypervisor": _hypervisor(info),
        "os": _system() or UNKNOWN,
        "kernel": platform.release() or UNKNOWN,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_hz": sensors.frequency_hz() or UNKNOWN,
        **_power(),
        "cgroup_quota_cpu_count": cgroup_quota(),
        **_loadavg(),
        "allocator_env": {name: os.environ.get(name, "unset") for name in _ALLOCATOR_VARIABLES},
    }


def local_isa() -> str:
    """The instruction-set class of this machine, one of `isa.ISA_CLASSES`."""
    machine = platform.machine()
    return isa_class(isa_flags(cpuinfo(), machine), machine)


def cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo with lower-case keys; on macOS its sysctl values; else empty."""
    if sys.platform == "darwin":
        return _sysctl(("machdep.cpu.brand_string", "machdep.cpu.features", "machdep.cpu.leaf7_features"))
    table: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            table.setdefault(key.strip().lower(), value.strip())
    return table


def cgroup_quota(
    root: Path = Path("/sys/fs/cgroup"), memberships: Path = Path("/proc/self/cgroup")
) -> float | str:
    """CPUs that this process may use by its cgroup quota (v2, then v1).

    The least quota on the way up to the root counts, because every ancestor limits its children.

    Args:
        root: Where the cgroups are mounted.
        memberships: The file that lists the cgroups of this process.

    Returns:
        A number of CPUs, "none" without a limit, or "unknown".
    """
    found = [_quota(folder) for folder in cgroups(root, memberships, "cpu")]
    limits = [quota for quota in found if quota]
    return min(limits) if limits else "none" if 0.0 in found else UNKNOWN


def cgroups(root: Path, memberships: Path, controller: str) -> Iterator[Path]:
    """Folders of the cgroups (v2 and v1) that hold this process, up to the mount point.

    Args:
        root: Where the cgroups are mounted.
        memberships: The file that lists the cgroups of this process.
        controller: The controller of v1, such as "cpu".
    """
    for line in _read(memberships).splitlines():
        number, controllers, group = ([*line.split(":", 2), "", ""])[:3]
        if number == "0" or controller in controllers.split(","):
            yield from _upward(root if number == "0" else root / controllers, group)


def _upward(top: Path, group: str) -> Iterator[Path]:
    """The folder of a cgroup and its ancestors up to the mount point."""
    place = top / group.lstrip("/")
    yield place
    while place != top and top in place.parents:
        place = place.parent
        yield place


def _quota(folder: Path) -> float | None:
    """CPUs of one cgroup; 0.0 without a limit, None when it has no readable quota file."""
    words = _read(folder / "cpu.max").split()
    if len(words) != 2:
        words = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
    if UNKNOWN in words:
        return None
    try:
        return 0.0 if words[0] in ("max", "-1") else int(words[0]) / int(words[1])
    except (ValueError, ZeroDivisionError):
        return None


def _read(path: str | Path) -> str:
    return sensors.text(Path(path)) or UNKNOWN


def _sysctl(names: tuple[str, ...]) -> dict[str, str]:
    import subprocess

    try:
        return {name: subprocess.check_output(["sysctl", "-n", name], text=True).strip() for name in names}
    except (OSError, subprocess.SubprocessError):
        return {}


def _cpu_model(info: dict[str, str]) -> str:
    for key in ("model name", "machdep.cpu.brand_string", "hardware", "model"):
        if info.get(key):
            return info[key]
    part = info.get("cpu part")  # ARM kernels name the core by its part number only
    return (
        f"implementer {info.get('cpu implementer', UNKNOWN)} part {part}"
        if part
        else platform.processor() or UNKNOWN
    )


def _system() -> str:
    if sys.platform != "linux":
        return platform.platform()
    # platform.platform() runs `uname -p` in a child process, from every worker
    libc = "".join(platform.libc_ver())
    return f"Linux-{platform.release()}-{platform.machine()}" + (f"-with-{libc}" if libc else "")


def _usable_cpus() -> int | str:
    cpus = sensors.usable_cpus()
    return UNKNOWN if cpus is None else len(cpus)


def _hypervisor(info: dict[str, str]) -> str:
    if "flags" not in info:
        return UNKNOWN  # only x86 says it there
    return "present" if "hypervisor" in info["flags"].split() else "absent"


def _emulated(info: dict[str, str], machine: str) -> str:
    """ "yes" when /proc/cpuinfo names qemu, or is of another architecture than the program, as under an older qemu-user."""
    arm = machine.startswith(("aarch64", "arm"))
    if "qemu" in info.get("hardware", "").lower() or (arm and "vendor_id" in info and "features" not in info):
        return "yes"
    return "no" if info else UNKNOWN


def _power() -> dict[str, float | str]:
    source, percent = sensors.power_state()
    return {"power_state": source, "battery_percent": UNKNOWN if percent is None else percent}


def _loadavg() -> dict[str, float | str]:
    names = ("loadavg_1min_cpu_count", "loadavg_5min_cpu_count", "loadavg_15min_cpu_count")
    try:
        return dict(zip(names, os.getloadavg(), strict=True))
    except (OSError, AttributeError):
        return dict.fromkeys(names, UNKNOWN)
