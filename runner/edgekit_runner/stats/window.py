"""What else the machine did while runs were timed: counters before and after, no thread in between.

The kernel counts anyway, so a window costs two readings of some ten small files, outside every timed run.
Sources: /proc/pressure/cpu (Documentation/accounting/psi.rst), /proc/stat (proc_stat(5)), the run-queue wait of
/proc/self/task/*/schedstat (Documentation/scheduler/sched-stats.rst), getrusage(2) and the cpu.stat of the
cgroups above this process. `validity` judges the figures. Off Linux psutil gives the busy time.
"""

import os
import sys
import time
from pathlib import Path

from edgekit_runner.host.environment import cgroups
from edgekit_runner.host.sensors import (
    ROOT,
    frequency_hz,
    run_queue_wait_s,
    temperature_celsius,
    text,
    usable_cpus,
)

Figure = float | int | None
_BUSY_FIELDS = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq; the time of guests is part of user
_STEAL_FIELD = 7
_ROUNDING_S = 0.05


class Window:
    """Counters over a stretch of this process's life. `end` may be called once for each `begin`."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root

    def begin(self) -> None:
        """Takes the first reading: clock and heat before the counters, so that they do not count."""
        self._cpus = usable_cpus()
        self._clock_first, self._heat_first = frequency_hz(self._root), _hottest(self._root)
        self._first = _counters(self._root, self._cpus)

    def end(self) -> dict[str, Figure]:
        """Takes the second reading.

        Returns:
            What changed since `begin`, ready for JSON; None where it could not be read at both times. `steal_s` and
            `other_busy_s` are of the CPUs that this process may use, in ticks of 10 ms; `run_queue_wait_s` is over all
            threads of this process; throttling is of all cgroups that hold it.
        """
        last = _counters(self._root, self._cpus)
        change = {name: _change(self._first[name], last[name]) for name in last}
        others = _others(change.pop("busy_s"), change["cpu_s"])
        if others is None:  # the same file, so it is not to be believed either
            change["steal_s"] = None
        return {
            **change,
            "other_busy_s": others,
            "frequency_start_hz": self._clock_first,
            "frequency_end_hz": frequency_hz(self._root),
            "temperature_start_celsius": self._heat_first,
            "temperature_end_celsius": _hottest(self._root),
            "usable_cpu_count": os.cpu_count() if self._cpus is None else len(self._cpus),
        }


def _counters(root: Path, cpus: tuple[int, ...] | None) -> dict[str, Figure]:
    """Everything that only grows, since boot or since this process began."""
    busy, steal = _machine(root, cpus) if sys.platform == "linux" else (_busy_psutil(), None)
    switches, faults = _usage()
    throttled_count, throttled_s = _throttled(root)
    return {
        "wall_s": time.perf_counter(),
        "cpu_s": time.process_time(),
        "busy_s": busy,
        "steal_s": steal,
        "cpu_pressure_s": _pressure(root),
        "run_queue_wait_s": run_queue_wait_s(root),
        "involuntary_switches_count": switches,
        "major_faults_count": faults,
        "throttled_count": throttled_count,
        "throttled_s": throttled_s,
    }


def _change(first: Figure, last: Figure) -> Figure:
    # counters of several CPUs are read one after the other and may seem to step back
    return None if first is None or last is None else max(type(last)(0), last - first)


def _others(busy: Figure, own: Figure) -> float | None:
    """Busy time without our own. Sandboxes that fake /proc/stat show a machine that is less busy than we are."""
    if busy is None or own is None or busy < own / 2 - _ROUNDING_S:
        return None
    return max(0.0, busy - own)


def _hottest(root: Path) -> float | None:
    found = temperature_celsius(root)
    return None if found is None else found.value


def _machine(root: Path, cpus: tuple[int, ...] | None) -> tuple[float | None, float | None]:
    """Busy and stolen seconds of the given CPUs. The total line is taken when it says the same: each figure
    is cut to ticks, so fewer figures are more exact.
    """
    lines = (text(root / "proc/stat") or "").splitlines()
    words = [line.split() for line in lines if line.startswith("cpu")]
    table = {name: [int(value) for value in values] for name, *values in words}
    every = table.pop("cpu", None)
    if every is None:
        return None, None
    rows = [table[f"cpu{cpu}"] for cpu in cpus or () if f"cpu{cpu}" in table]
    if not rows or len(rows) == len(table):
        rows = [every]
    tick = 1 / os.sysconf("SC_CLK_TCK")
    busy = sum(row[field] for row in rows for field in _BUSY_FIELDS if field < len(row))
    steal = sum(row[_STEAL_FIELD] for row in rows) if len(every) > _STEAL_FIELD else None
    return busy * tick, None if steal is None else steal * tick


def _pressure(root: Path) -> float | None:
    """Seconds in which at least one task of the machine waited for a CPU."""
    for line in (text(root / "proc/pressure/cpu") or "").splitlines():
        if line.startswith("some") and "total=" in line:
            return int(line.rpartition("total=")[2]) / 1e6
    return None


def _usage() -> tuple[int | None, int | None]:
    """Involuntary context switches and major page faults of this process."""
    try:
        import resource
    except ImportError:  # Windows
        return None, None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nivcsw, usage.ru_majflt


def _throttled(root: Path) -> tuple[int | None, float | None]:
    """How often and for how long a cgroup above this process ran out of its CPU quota; 0 without a quota."""
    count, seconds, seen = 0, 0.0, False
    for folder in cgroups(root / "sys/fs/cgroup", root / "proc/self/cgroup", "cpu"):
        lines = (text(folder / "cpu.stat") or "").splitlines()
        table = dict(line.split(maxsplit=1) for line in lines if " " in line)
        seen = seen or bool(table)
        count += int(table.get("nr_throttled", 0))
        seconds += int(table.get("throttled_usec", 0)) / 1e6 + int(table.get("throttled_time", 0)) / 1e9
    return (count, seconds) if seen else (None, None)


def _busy_psutil() -> float | None:
    try:
        import psutil
    except ImportError:
        return None
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))
