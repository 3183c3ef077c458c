"""`sustain`: latency over minutes, in one warm process that runs back to back.

A phone or a fanless board is fast for a minute and then gives way to its heat, so a bench of three seconds
says nothing about a camera app. The time is cut into buckets; each has its medians and the deltas of its
`Window`, which are taken between buckets, never inside the timing, at about a millisecond a bucket.
`throttle` finds where it became slower for good.
"""

import gc
import time
from array import array
from collections.abc import Sequence
from typing import Any

from edgekit_runner import backends
from edgekit_runner.host import sensors
from edgekit_runner.kinds import _phases
from edgekit_runner.record import Record
from edgekit_runner.spec import Spec
from edgekit_runner.stats import doubts, quantiles, throttle
from edgekit_runner.stats.window import Window

_BUCKETS_LEAST_COUNT = 10
_BUCKETS_MOST_COUNT = 120
_RUNS_MOST_COUNT = 200_000


def run(spec: Spec, record: Record) -> None:
    """Fills the record. Raises `RunnerError`."""
    with _phases.opened(spec, record) as (session, _):
        energy = sensors.EnergyCounter()
        energy.begin()
        buckets = watch(session, spec.duration_s)
        used = energy.end()
    found = summarize(buckets, spec)
    record["sustained"] = found
    joules = used["energy_j"]
    record["energy"] = {**used, "per_run_j": None if joules is None else joules / found["runs_count"]}
    verdict = throttle.judged(buckets, spec.threads_count)
    record["validity"] = {
        "verdict": verdict.verdict,
        "causes": list(verdict.causes),
        "unreadable": list(verdict.unreadable),
        "left_out_processes_count": 0,
    }
    record["doubts"] += doubts.of_validity(record["validity"])


def bucket_length_s(duration_s: float) -> float:
    """1 s; shorter where fewer than 10 buckets would fit, longer where more than 120 would."""
    return max(min(1.0, duration_s / _BUCKETS_LEAST_COUNT), duration_s / _BUCKETS_MOST_COUNT)


def watch(session: backends.Session, duration_s: float) -> list[dict[str, Any]]:
    """The buckets, with the garbage collector off. One run at least, however short the duration."""
    length_ns = int(bucket_length_s(duration_s) * 1e9)
    buckets: list[dict[str, Any]] = []
    gc.collect()
    gc.disable()
    try:
        begin = now = time.perf_counter_ns()
        end = begin + int(duration_s * 1e9)
        while not buckets or now < end:
            whole = now + length_ns
            until = whole if end - whole > length_ns // 2 else end  # no stub at the end
            buckets.append(_bucket(session, begin, until))
            now = time.perf_counter_ns()
    finally:
        gc.enable()
    return buckets


def clocked(session: backends.Session, until_ns: int) -> tuple["array[int]", "array[int]", int]:
    """Wall and CPU nanoseconds of each run until the clock passes `until_ns`, and when the last one ended.
    One run at least, 200 000 at most.
    """
    wall, cpu = array("q"), array("q")
    invoke, wall_now, cpu_now = session.invoke, time.perf_counter_ns, time.process_time_ns
    end = None
    while end is None or (end < until_ns and len(wall) < _RUNS_MOST_COUNT):
        c0 = cpu_now()
        t0 = wall_now()
        invoke()
        end = wall_now()
        wall.append(end - t0)
        cpu.append(cpu_now() - c0)
    return wall, cpu, end


def median_s(values_ns: "array[int]") -> float:
    """The median in seconds of nanoseconds. numpy selects it where `stats.median` would sort for 10 ms."""
    import numpy as np

    return float(np.median(np.frombuffer(values_ns, np.int64))) / 1e9


def _bucket(session: backends.Session, begin_ns: int, until_ns: int) -> dict[str, Any]:
    window = Window()
    window.begin()
    start = time.perf_counter_ns()
    wall, cpu, end = clocked(session, until_ns)
    seen = window.end()
    return {
        "start_s": (start - begin_ns) / 1e9,
        "duration_s": (end - start) / 1e9,
        "runs_count": len(wall),
        "wall_p50_s": median_s(wall),
        "cpu_p50_s": median_s(cpu),
        "frequency_hz": seen["frequency_end_hz"],
        "temperature_celsius": seen["temperature_end_celsius"],
        "window": seen,
    }


def summarize(buckets: Sequence[dict[str, Any]], spec: Spec) -> dict[str, Any]:
    """The section `sustained`. First and last are the medians of five buckets each."""
    count = throttle.REFERENCE_COUNT
    out: dict[str, Any] = {
        "bucket_s": bucket_length_s(spec.duration_s),
        "duration_s": buckets[-1]["start_s"] + buckets[-1]["duration_s"],
        "runs_count": sum(bucket["runs_count"] for bucket in buckets),
    }
    for clock, name in (("wall", ""), ("cpu", "cpu_")):
        medians = [bucket[f"{clock}_p50_s"] for bucket in buckets]
        first, last = quantiles.median(medians[:count]), quantiles.median(medians[-count:])
        out |= {
            f"first_{name}p50_s": first,
            f"last_{name}p50_s": last,
            f"{name}slowdown_ratio": last / first if first else None,
        }
    limit = sensors.throttle_limit_celsius()
    cause = throttle.diagnose(buckets, spec.threads_count, None if limit is None else limit.value)
    return {**out, **cause, "buckets": list(buckets)}
