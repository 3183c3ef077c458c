"""`sustain`: latency over minutes, in one warm process that runs back to back.

A phone or a fanless board is fast for a minute and then gives way to its heat, so a bench of three seconds says nothing
about a camera app. The time is cut into buckets; each has its medians and the deltas of its `Window`, which are taken
between buckets, never inside the timing, at about a millisecond a bucket. `throttle` finds where it became slower for
good.
"""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TextIO

from edgekit_runner.backends import Session
from edgekit_runner.host import sensors
from edgekit_runner.kinds import _timing
from edgekit_runner.protocol import Lasting
from edgekit_runner.record import OneArtifact, Table
from edgekit_runner.stats import doubts, quantiles, throttle
from edgekit_runner.stats.window import Window

_BUCKETS_LEAST_COUNT = 10
_BUCKETS_MOST_COUNT = 120


@dataclass(frozen=True, kw_only=True)
class Spec(Lasting):
    """`duration_s`: how long to watch."""

    kind: ClassVar[str] = "sustain"
    stated: ClassVar[tuple[str, ...]] = ("duration_s",)


class Record(OneArtifact):
    """Latency in buckets, where it became slower, and the energy."""

    sustained: Table | None
    energy: Table | None


def work(spec: Spec, record: Record, parent: TextIO) -> None:
    """Fills the record.

    Args:
        spec: What the worker was asked for.
        record: A blank record of this kind.
        parent: Not used.

    Raises:
        RunnerError: The artifact does not run, or is not what it should be.
    """
    from edgekit_runner.kinds import _phases

    with _phases.opened(spec, record) as (session, _):
        energy = sensors.EnergyCounter()
        energy.begin()
        buckets = watch(session, spec.duration_s)
        used = energy.end()
    found = record["sustained"] = summarize(buckets, spec.duration_s, spec.threads_count)
    joules = used["energy_j"]
    record["energy"] = {**used, "per_run_j": None if joules is None else joules / found["runs_count"]}
    validity = record["validity"] = throttle.judged(buckets, spec.threads_count).section()
    record["doubts"] += doubts.of_validity(validity)


def bucket_length_s(duration_s: float) -> float:
    """1 s; shorter where fewer than 10 buckets would fit, longer where more than 120 would."""
    return max(min(1.0, duration_s / _BUCKETS_LEAST_COUNT), duration_s / _BUCKETS_MOST_COUNT)


def watch(session: Session, duration_s: float) -> list[dict[str, Any]]:
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


def _bucket(session: Session, begin_ns: int, until_ns: int) -> dict[str, Any]:
    window = Window()
    window.begin()
    start = time.perf_counter_ns()
    wall, cpu, end = _timing.clocked(session, until_ns)
    seen = window.end()
    return {
        "start_s": (start - begin_ns) / 1e9,
        "duration_s": (end - start) / 1e9,
        "runs_count": len(wall),
        "wall_p50_s": _timing.median_s(wall),
        "cpu_p50_s": _timing.median_s(cpu),
        "frequency_hz": seen["frequency_end_hz"],
        "temperature_celsius": seen["temperature_end_celsius"],
        "window": seen,
    }


def summarize(buckets: Sequence[dict[str, Any]], duration_s: float, threads_count: int) -> dict[str, Any]:
    """The section `sustained`. First and last are the medians of five buckets each.

    Args:
        buckets: What `watch` returned.
        duration_s: How long it was asked to watch.
        threads_count: Threads of the runtime.
    """
    count = throttle.REFERENCE_COUNT
    out: dict[str, Any] = {
        "bucket_s": bucket_length_s(duration_s),
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
    cause = throttle.diagnose(buckets, threads_count, None if limit is None else limit.value)
    return {**out, **cause, "buckets": list(buckets)}
