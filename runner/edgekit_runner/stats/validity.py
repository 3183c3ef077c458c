"""Whether a timed window may be believed: a pure function of its counters and of how its samples moved.

A median of wall time says nothing about who else had the CPU. The verdict is "disturbed" as soon as one
figure passes its threshold, with a sentence that names the figure; "unknown" where the system shows neither
waiting nor other work; else "ok". Each threshold is a share of the window and, because counters tick (10 ms
in /proc/stat, 4 ms in the pressure), also an absolute floor. "Quiet" below is the most that 266 one-thread
windows of 0.3 and 0.5 s showed on an idle virtual machine of two CPUs: none of them passed any threshold of a
counter. With one or more busy processes beside it, all of 770 windows did.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

# 5 % is what LiteRT, ExecuTorch and MLPerf tolerate between two runs; quiet: 0.011 s of pressure in 0.5 s
PRESSURE_WALL_RATIO = 0.05
PRESSURE_FLOOR_S = 0.015
# quiet: 0.007 s in 0.5 s, and 0.0003 s in 99 of 100 windows
WAIT_WALL_RATIO = 0.05
WAIT_FLOOR_S = 0.01
# CPU time that the hypervisor gave to others; quiet: 0, beside busy processes mostly 0, at times one tick or
# two, which this does not count
STEAL_CPU_RATIO = 0.01
STEAL_FLOOR_S = 0.03
# work of others shares caches, memory and clock with us even while CPUs are idle, so a quarter of those that
# we leave free is the limit, plus the 5 % from above; quiet: 0.03 s, three ticks
OTHERS_OF_WALL_RATIO = 0.05
OTHERS_OF_SPARE_RATIO = 0.25
OTHERS_FLOOR_S = 0.05
# only where no run queue shows the wait itself: beside busy processes it missed 46 % of the windows
WALL_CPU_RATIO = 1.1
# drift between the first and the last third, and a falling clock: the 5 % from above. Quiet: a matrix product
# of 1 ms drifted by more in 1 of 29 windows, a loop in Python in 3 of 10
DRIFT_RATIO = 0.05
DRIFT_FLOOR_S = 1e-6
FREQUENCY_RATIO = 0.95
# one run in a hundred that reads from storage moves the tail, one in thousands does not; quiet: 0
FAULTS_OF_RUNS_RATIO = 0.01

_NAMES = {
    "cpu_pressure_s": "CPU pressure",
    "run_queue_wait_s": "run-queue wait",
    "other_busy_s": "CPU time of other programs",
    "steal_s": "steal time",
    "involuntary_switches_count": "involuntary switches",
    "major_faults_count": "major page faults",
    "throttled_s": "throttling by a CPU quota",
    "frequency_end_hz": "CPU frequency",
    "temperature_end_celsius": "temperature",
}
_DECISIVE = ("cpu_pressure_s", "run_queue_wait_s", "other_busy_s", "steal_s")


class ValiditySection(TypedDict):
    """The verdict of a record, and why; a bench also says whether its interval came to the width asked for."""

    verdict: str
    causes: list[str]
    unreadable: list[str]
    left_out_processes_count: int
    converged: NotRequired[bool | None]
    converged_reason: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one window.

    Attributes:
        verdict: "ok", "disturbed" or "unknown".
        causes: What disturbed it, a sentence each.
        unreadable: What this system does not show.
        external: At least one cause was seen outside the samples themselves.
    """

    verdict: str
    causes: tuple[str, ...]
    unreadable: tuple[str, ...]
    external: bool

    def section(self) -> ValiditySection:
        """The `validity` of a record of one process."""
        return {
            "verdict": self.verdict,
            "causes": list(self.causes),
            "unreadable": list(self.unreadable),
            "left_out_processes_count": 0,
        }


def judge(
    window: Mapping[str, Any],
    threads_count: int,
    first_third_p50_s: float,
    last_third_p50_s: float,
    cpu_first_third_p50_s: float,
    cpu_last_third_p50_s: float,
) -> Verdict:
    """Judges one window.

    Args:
        window: What `Window.end` returned.
        threads_count: Threads of the runtime.
        first_third_p50_s: Median wall time of a run in the first third of the window.
        last_third_p50_s: The same in the last third.
        cpu_first_third_p50_s: Median CPU time of a run in the first third.
        cpu_last_third_p50_s: The same in the last third.
    """
    outside = [
        *_waited(window, threads_count),
        *_others(window, threads_count),
        *_stolen(window),
        *_limited(window, first_third_p50_s),
    ]
    inside = _drift(first_third_p50_s, last_third_p50_s, cpu_first_third_p50_s, cpu_last_third_p50_s)
    causes = (*outside, *_slowed(window), *inside)
    blind = all(window.get(key) is None for key in _DECISIVE)
    return Verdict(
        verdict="disturbed" if causes else "unknown" if blind else "ok",
        causes=causes,
        unreadable=tuple(name for key, name in _NAMES.items() if window.get(key) is None),
        external=bool(outside),
    )


def _waited(window: Mapping[str, Any], threads_count: int) -> list[str]:
    """Who wanted a CPU and had none. More threads than CPUs wait for each other: that is what was asked for."""
    wall = window["wall_s"]
    if threads_count > (window.get("usable_cpu_count") or threads_count):
        return []
    found = []
    pressure, wait = window.get("cpu_pressure_s"), window.get("run_queue_wait_s")
    if pressure is not None and pressure > max(PRESSURE_WALL_RATIO * wall, PRESSURE_FLOOR_S):
        found.append(f"Programs waited for a CPU during {pressure / wall:.0%} of the timing.")
    if wait is None:
        return found + _off_cpu(window, threads_count)
    if wait > max(WAIT_WALL_RATIO * wall, WAIT_FLOOR_S):
        found.append(f"This process waited {wait:.3g} s for a CPU in {wall:.3g} s of timing.")
    return found


def _off_cpu(window: Mapping[str, Any], threads_count: int) -> list[str]:
    """Wall beyond CPU time of one thread. An accelerator or storage is waited for without any fault of others,
    so it counts only where others can have had the CPU meanwhile.
    """
    wall, cpu = window["wall_s"], window.get("cpu_s")
    if threads_count != 1 or cpu is None or wall <= WALL_CPU_RATIO * cpu + WAIT_FLOOR_S:
        return []
    others = (window.get("other_busy_s"), window.get("steal_s"))
    if others[0] is not None and sum(value or 0.0 for value in others) < (wall - cpu) / 2:
        return []
    return [f"The one thread of this process was on a CPU for only {cpu / wall:.0%} of the timing."]


def _others(window: Mapping[str, Any], threads_count: int) -> list[str]:
    wall, busy, cpus = window["wall_s"], window.get("other_busy_s"), window.get("usable_cpu_count")
    if busy is None or not cpus:
        return []
    share = OTHERS_OF_WALL_RATIO + OTHERS_OF_SPARE_RATIO * max(0, cpus - threads_count)
    if busy <= max(share * wall, OTHERS_FLOOR_S):
        return []
    return [f"Other programs used {busy / wall:.2f} CPUs of {cpus} during the timing."]


def _stolen(window: Mapping[str, Any]) -> list[str]:
    steal, whole = window.get("steal_s"), window["wall_s"] * (window.get("usable_cpu_count") or 1)
    if steal is None or steal <= max(STEAL_CPU_RATIO * whole, STEAL_FLOOR_S):
        return []
    return [f"The hypervisor gave {steal / whole:.1%} of this machine's CPU time to others."]


def _limited(window: Mapping[str, Any], run_s: float) -> list[str]:
    """What stopped this process from outside: a quota, and storage."""
    found = []
    if window.get("throttled_count"):
        count, seconds = window["throttled_count"], window.get("throttled_s") or 0.0
        found.append(f"A CPU quota stopped this process's group {count} times, for {seconds:.3g} s in all.")
    faults, runs = window.get("major_faults_count") or 0, max(1.0, window["wall_s"] / max(run_s, 1e-9))
    if faults > FAULTS_OF_RUNS_RATIO * runs:
        found.append(f"{faults} page faults read from storage during some {runs:.0f} runs.")
    return found


def _slowed(window: Mapping[str, Any]) -> list[str]:
    first, last = window.get("frequency_start_hz"), window.get("frequency_end_hz")
    if not first or not last or last >= FREQUENCY_RATIO * first:
        return []
    return [f"The CPU clock fell from {first / 1e9:.2f} GHz to {last / 1e9:.2f} GHz during the timing."]


def _drift(first_s: float, last_s: float, cpu_first_s: float, cpu_last_s: float) -> list[str]:
    """CPU time moves with the clock, the heat and the caches; wall time alone moves with who else runs."""
    if _moved(cpu_first_s, cpu_last_s):
        said = _change("CPU time", cpu_first_s, cpu_last_s)
        return [f"{said}: the clock, the temperature or shared caches changed."]
    if _moved(first_s, last_s):
        return [
            f"{_change('Wall time', first_s, last_s)} and CPU time did not: others took the CPU, or what it waits for slowed down."
        ]
    return []


def _moved(first: float, last: float) -> bool:
    return abs(last - first) > max(DRIFT_RATIO * min(first, last), DRIFT_FLOOR_S)


def _change(what: str, first: float, last: float) -> str:
    verb = "rose" if last > first else "fell"
    return f"{what} of a run {verb} from {first * 1e3:.3g} ms in the first third to {last * 1e3:.3g} ms in the last"
