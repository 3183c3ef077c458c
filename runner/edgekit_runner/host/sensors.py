"""Clock, heat, waiting, power and energy, as far as the system shows them; `window` takes them before and after.

Everything is a file of Linux (Documentation/ABI/testing/sysfs-class-power, sysfs-class-thermal,
sysfs-class-powercap, cpufreq); a file costs some 10 us to read. What cannot be read is None, never a guess,
and energy is never computed from CPU time. Off Linux only the power state is known, by psutil. Every function
takes the `root` of the file system, so that a test can hand it a tree of its own.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path("/")
# old x86 kernels sleep up to 10 ms for each idle CPU that is asked, and CPUs of one cluster share a clock
_ASKED_CPUS_COUNT = 16
_CPU_ZONES = ("cpu", "pkg", "soc")
_PLAUSIBLE_CELSIUS = (1.0, 150.0)  # unused zones report 0, -274 or beyond
_JOULES_PER_UWH = 3.6e-3
# gauges are updated every few seconds in steps of some 10 J: a short window sees none of them or one too many
BATTERY_LEAST_S = 60.0


class Reading(NamedTuple):  # not a dataclass: the worker would pay 0.3 ms to make it
    """A value and the name that the system gives to where it was taken."""

    label: str
    value: float


def text(path: Path) -> str | None:
    """The stripped content of a file; None where it is missing, refused or empty."""
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def number(path: Path) -> int | None:
    """The content of a file as an integer; None where it is none."""
    try:
        return int(text(path) or "")
    except ValueError:
        return None


def usable_cpus() -> tuple[int, ...] | None:
    """Numbers of the CPUs that this process may use; None where the system has no affinity."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None


def frequency_hz(root: Path = ROOT) -> float | None:
    """The highest present clock of the CPUs that this process may use (at most 16 of them are asked)."""
    folder = root / "sys/devices/system/cpu"
    cpus = (usable_cpus() or ())[:_ASKED_CPUS_COUNT]
    clocks = [number(folder / f"cpu{cpu}/cpufreq/scaling_cur_freq") for cpu in cpus]
    return max((clock * 1e3 for clock in clocks if clock), default=None)


def temperature_celsius(root: Path = ROOT) -> Reading | None:
    """The hottest thermal zone of the processor, or of all zones where none is named after it."""
    readings = [_celsius(name, zone / "temp") for name, zone in _zones(root)]
    return max((found for found in readings if found), key=lambda found: found.value, default=None)


def throttle_limit_celsius(root: Path = ROOT) -> Reading | None:
    """The lowest temperature at which the kernel slows one of these zones down (a passive trip point)."""
    readings = [
        _celsius(name, kind.with_name(kind.name.replace("_type", "_temp")))
        for name, zone in _zones(root)
        for kind in sorted(zone.glob("trip_point_*_type"))
        if text(kind) == "passive"
    ]
    return min((found for found in readings if found), key=lambda found: found.value, default=None)


def run_queue_wait_s(root: Path = ROOT) -> float | None:
    """Seconds since its start that threads of this process were ready to run and had no CPU."""
    found = [text(path) for path in (root / "proc/self/task").glob("*/schedstat")]
    # kernels without this accounting write zeros
    waits = [words.split()[1] for words in found if words and words != "0 0 0"]
    return sum(map(int, waits)) / 1e9 if waits else None


def power_state(root: Path = ROOT) -> tuple[str, float | None]:
    """What feeds the machine. A battery that discharges decides, also beside a cable that is too weak.

    Returns:
        "mains", "battery" or "unknown", and the charge of the battery in percent, None without one.
    """
    if sys.platform != "linux":
        return _power_psutil()
    battery = _battery(root)
    percent = None if battery is None else number(battery / "capacity")
    status = None if battery is None else text(battery / "status")
    if status == "Discharging":
        source = "battery"
    elif status in ("Charging", "Full", "Not charging") or 1 in _online(root):
        source = "mains"
    else:
        source = "unknown"
    return source, percent


def available(root: Path = ROOT) -> dict[str, str]:
    """Which sources of doubt this machine lets us read: "readable" or "unknown"."""
    battery = _battery(root)
    found = {
        "cpu_pressure": text(root / "proc/pressure/cpu"),
        "steal_time": text(root / "proc/stat"),
        "run_queue_wait": run_queue_wait_s(root),
        "memory_rollup": text(root / "proc/self/smaps_rollup"),
        "frequency": frequency_hz(root),
        "thermal_zone": temperature_celsius(root),
        "throttle_limit": throttle_limit_celsius(root),
        "energy_counter": _rapl_uj(_packages(root)),
        "battery": battery and number(battery / "capacity"),
    }
    return {name: "unknown" if value is None else "readable" for name, value in found.items()}


class EnergyCounter:
    """Energy between `begin` and `end` in joules: of everything that ran, not of one program.

    RAPL counts the CPU packages (Intel and AMD; its counter wraps after some 262 kJ, one wrap is made good).
    A battery that discharges counts the whole device, coarsely: only windows of 60 s or more are trusted.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._packages = _packages(root)
        self._battery = _battery(root)

    def begin(self) -> None:
        """Takes the first reading."""
        self._rapl_first = _rapl_uj(self._packages)
        self._charge_first = _charge_j(self._battery)
        self._begin = time.perf_counter()

    def end(self) -> dict[str, Any]:
        """Joules since `begin`, or the reason why there are none."""
        wall = time.perf_counter() - self._begin
        rapl = self._rapl_j()
        if rapl is not None:
            return _energy(f"RAPL of {len(self._packages)} CPU package(s)", None, rapl, wall)
        charge = _charge_j(self._battery)
        spent = None if charge is None or self._charge_first is None else self._charge_first - charge
        if spent is None or spent <= 0 or wall < BATTERY_LEAST_S:
            return _energy(None, f"{self._no_rapl()}; {self._no_battery(spent, wall)}.", None, wall)
        return _energy("battery gauge", None, spent, wall)

    def _rapl_j(self) -> float | None:
        last = _rapl_uj(self._packages)
        if last is None or self._rapl_first is None:
            return None
        total = 0
        for zone, first, now in zip(self._packages, self._rapl_first, last, strict=True):
            wrap = number(zone / "max_energy_range_uj")
            if now < first and wrap is None:
                return None
            total += now - first if now >= first else now - first + (wrap or 0)
        return total / 1e6

    def _no_rapl(self) -> str:
        if not self._packages:
            return "no RAPL counter of a CPU package here"
        if not all(os.access(zone / "energy_uj", os.R_OK) for zone in self._packages):
            return f"RAPL is here, but this user may not read {self._packages[0] / 'energy_uj'}"
        return "the RAPL counter could not be read"

    def _no_battery(self, spent: float | None, wall: float) -> str:
        if self._battery is None:
            return "no battery"
        if spent is None:
            return "the battery does not discharge or has no gauge that can be read"
        if wall < BATTERY_LEAST_S:
            return f"{wall:.1f} s are too short for a battery gauge, {BATTERY_LEAST_S:.0f} s are the least"
        return "the battery gauge did not move"


def _energy(source: str | None, reason: str | None, joules: float | None, wall: float) -> dict[str, Any]:
    status = "unavailable" if joules is None else "measured"
    return {"status": status, "source": source, "reason": reason, "energy_j": joules, "wall_s": wall}


def _zones(root: Path) -> list[tuple[str, Path]]:
    folder = root / "sys/class/thermal"
    zones = [(text(zone / "type") or zone.name, zone) for zone in sorted(folder.glob("thermal_zone*"))]
    named = [pair for pair in zones if any(word in pair[0].lower() for word in _CPU_ZONES)]
    return named or zones


def _celsius(label: str, path: Path) -> Reading | None:
    value = (number(path) or 0) / 1e3
    low, high = _PLAUSIBLE_CELSIUS
    return Reading(label=label, value=value) if low <= value <= high else None


def _supplies(root: Path) -> Iterator[tuple[str | None, Path]]:
    """Kind and folder of every power supply of the machine itself; a mouse has the scope "Device"."""
    for folder in sorted((root / "sys/class/power_supply").glob("*")):
        if text(folder / "scope") != "Device":
            yield text(folder / "type"), folder


def _battery(root: Path) -> Path | None:
    return next((folder for kind, folder in _supplies(root) if kind == "Battery"), None)


def _online(root: Path) -> list[int | None]:
    return [number(folder / "online") for kind, folder in _supplies(root) if kind != "Battery"]


def _charge_j(battery: Path | None) -> float | None:
    """Joules left in a battery that discharges; micro-watt-hours, or micro-ampere-hours times the voltage."""
    if battery is None or text(battery / "status") != "Discharging":
        return None
    energy = number(battery / "energy_now")
    if energy is not None:
        return energy * _JOULES_PER_UWH
    charge, voltage = number(battery / "charge_now"), number(battery / "voltage_now")
    if charge is None:
        charge = number(battery / "charge_counter")  # as Android names it
    return None if charge is None or voltage is None else charge * voltage / 1e6 * _JOULES_PER_UWH


def _packages(root: Path) -> list[Path]:
    """RAPL zones of whole packages: no cores, no memory, and no `psys`, which holds the packages again."""
    zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
    return [zone for zone in zones if (text(zone / "name") or "").startswith("package")]


def _rapl_uj(packages: Sequence[Path]) -> list[int] | None:
    found = [number(zone / "energy_uj") for zone in packages]
    values = [value for value in found if value is not None]
    return values if values and len(values) == len(found) else None


def _power_psutil() -> tuple[str, float | None]:
    try:
        import psutil
    except ImportError:
        return "unknown", None
    battery: Any = psutil.sensors_battery()
    if battery is None:
        return "unknown", None
    return {True: "mains", False: "battery"}.get(battery.power_plugged, "unknown"), battery.percent
