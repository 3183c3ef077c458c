"""Timed loops over a session that is warm, with the garbage collector off, and what their samples say."""

import gc
import time
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgekit_runner.backends import Arrays, Session
from edgekit_runner.errors import RunnerError
from edgekit_runner.host.sensors import EnergyCounter
from edgekit_runner.stats import quantiles
from edgekit_runner.stats.validity import judge
from edgekit_runner.stats.window import Window

_COPIES_COUNT = 20
_MOST_RUNS_COUNT = 200_000


@dataclass(frozen=True, kw_only=True)
class Samples:
    """A timed loop.

    Attributes:
        wall_ns: Nanoseconds of each run.
        cpu_ns: CPU nanoseconds of each run.
        duration_s: Of the whole loop.
        stopped_by: Which limit ended it.
        window: What the counters of the machine saw.
        energy: What the energy counter saw.
    """

    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    duration_s: float
    stopped_by: str
    window: dict[str, Any]
    energy: dict[str, Any]

    @property
    def wall_s(self) -> tuple[float, ...]:
        """Seconds of each run."""
        return tuple(value / 1e9 for value in self.wall_ns)

    @property
    def cpu_s(self) -> tuple[float, ...]:
        """CPU seconds of each run."""
        return tuple(value / 1e9 for value in self.cpu_ns)


def time_runs(session: Session, min_runs_count: int, min_duration_s: float, max_duration_s: float) -> Samples:
    """Times `invoke` alone until both minima are met, or the maximum is.

    Args:
        session: A warm session that was fed.
        min_runs_count: The least number of runs.
        min_duration_s: The least duration of the loop.
        max_duration_s: The longest duration of the loop.

    Raises:
        RunnerError: No run fitted into `max_duration_s`.
    """
    window, energy = Window(), EnergyCounter()
    gc.collect()
    gc.disable()
    energy.begin()
    window.begin()
    try:
        wall, cpu, duration_ns = _loop(session, min_runs_count, min_duration_s, max_duration_s)
    finally:
        gc.enable()
    seen, used = window.end(), energy.end()
    if not wall:
        raise RunnerError("no run fitted into max_duration_s; raise it.")
    done = len(wall) >= min(min_runs_count, _MOST_RUNS_COUNT)
    return Samples(
        wall_ns=tuple(wall),
        cpu_ns=tuple(cpu),
        duration_s=duration_ns / 1e9,
        stopped_by="min_runs_count and min_duration_s" if done else "max_duration_s",
        window=seen,
        energy=used,
    )


def _loop(
    session: Session, min_runs_count: int, min_duration_s: float, max_duration_s: float
) -> tuple["array[int]", "array[int]", int]:
    wall, cpu = array("q"), array("q")
    invoke, wall_now, cpu_now = session.invoke, time.perf_counter_ns, time.process_time_ns
    begin = end = wall_now()
    least, most = begin + int(min_duration_s * 1e9), begin + int(max_duration_s * 1e9)
    while end < most and (len(wall) < min_runs_count or end < least) and len(wall) < _MOST_RUNS_COUNT:
        c0 = cpu_now()
        t0 = wall_now()
        invoke()
        end = wall_now()
        wall.append(end - t0)
        cpu.append(cpu_now() - c0)
    return wall, cpu, end - begin


def clocked(session: Session, until_ns: int) -> tuple["array[int]", "array[int]", int]:
    """Runs until the clock passes a moment: one run at least, 200 000 at most.

    Args:
        session: A warm session that was fed.
        until_ns: The moment, by `time.perf_counter_ns`.

    Returns:
        Wall and CPU nanoseconds of each run, and when the last one ended.
    """
    wall, cpu = array("q"), array("q")
    invoke, wall_now, cpu_now = session.invoke, time.perf_counter_ns, time.process_time_ns
    end = None
    while end is None or (end < until_ns and len(wall) < _MOST_RUNS_COUNT):
        c0 = cpu_now()
        t0 = wall_now()
        invoke()
        end = wall_now()
        wall.append(end - t0)
        cpu.append(cpu_now() - c0)
    return wall, cpu, end


def median_s(values_ns: "array[int]") -> float:
    """The median of nanoseconds, in seconds. numpy selects it where `quantiles.median` would sort for 10 ms."""
    import numpy as np

    return float(np.median(np.frombuffer(values_ns, np.int64))) / 1e9


def thirds(values: Any) -> tuple[Any, Any]:
    """The first and the last third of a sequence, one value each at least."""
    third = max(1, len(values) // 3)
    return values[:third], values[-third:]


def latency(session: Session, feeds: Arrays, samples: Samples) -> dict[str, Any]:
    """The section `latency` of one process, with the medians of handing inputs over and taking outputs back.

    Args:
        session: The session.
        feeds: One set of inputs.
        samples: Its timed loop.
    """
    times_in, times_out = [], []
    for _ in range(_COPIES_COUNT):
        start = time.perf_counter_ns()
        session.feed(feeds)
        middle = time.perf_counter_ns()
        session.fetch()
        times_in.append((middle - start) / 1e9)
        times_out.append((time.perf_counter_ns() - middle) / 1e9)
    return {
        **quantiles.summary_s(samples.wall_s),
        "duration_s": samples.duration_s,
        "stopped_by": samples.stopped_by,
        "input_copy_p50_s": quantiles.median(times_in),
        "output_copy_p50_s": quantiles.median(times_out),
    }


def summary(samples: Samples, threads_count: int, memory: Mapping[str, Any]) -> dict[str, Any]:
    """What one process adds to `processes` of the combined record.

    Args:
        samples: Its timed loop.
        threads_count: Threads of the runtime.
        memory: The `memory` of its record.
    """
    wall, cpu = samples.wall_s, samples.cpu_s
    medians = [quantiles.median(part) for part in (*thirds(wall), *thirds(cpu))]
    return {
        "runs_count": len(wall),
        "p50_s": quantiles.median(wall),
        "min_s": min(wall),
        "cpu_p50_s": quantiles.median(cpu),
        "cpu_min_s": min(cpu),
        "wall_cpu_ratio": sum(wall) / sum(cpu) if sum(cpu) else None,
        "peak_bytes": memory["peak_bytes"],
        "peak_over_baseline_bytes": memory["peak_over_baseline_bytes"],
        "window": samples.window,
        **asdict(judge(samples.window, threads_count, *medians)),
    }
