"""`compare`: two artifacts in one fresh process, in turns, so that both meet the same disturbance.

A round is four legs, ABBA or (every other round) BAAB, each leg the same number of runs: what drifts
linearly during a round cancels. The ratio of a round is CPU time of A over CPU time of B; process CPU time
barely moves when another program takes the CPU away, wall time does. The result is the median ratio
with an interval by order statistics over the rounds. Under 1 the artifact is the faster one.
"""

import gc
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from . import artifact, backends, doubts, environment, golden, stats
from .measure import first_feeds, protocol, prove, warm_up
from .record import Record
from .spec import Spec

_LEG_CPU_S = 0.004
_LEG_MAX_CPU_S = 0.25
_LEG_MAX_COUNT = 1000
_PILOT_COUNT = 5
_CLOCKS = (time.process_time_ns, time.perf_counter_ns)


def run(spec: Spec, record: Record) -> None:
    """Fills the record. Raises `RunnerError`."""
    record["environment"] = environment.describe()
    record["protocol"] = protocol(spec)
    record["doubts"] += doubts.of_environment(record["environment"], spec.threads_count)
    a = _ready(spec.artifact_alone(), record, "artifact")
    b = _ready(spec.baseline_alone(), record, "baseline")
    runs_count = spec.runs_per_leg_count or _leg_length(_pilot_s(a), _pilot_s(b))
    cpu, wall = _rounds(a, b, runs_count, spec)
    record["comparison"] = summarize(cpu, wall, runs_count, spec.tolerance_ratio)
    if len(cpu) < spec.rounds_count:
        record["doubts"].append(
            f"The time limit of {spec.max_duration_s} s ended it after {len(cpu)} rounds."
        )
    record["doubts"].append(
        "Both ran in one process: the interval does not hold what differs between processes."
    )


def summarize(
    cpu_s: Sequence[tuple[float, float]],
    wall_s: Sequence[tuple[float, float]],
    runs_count: int,
    tolerance: float,
) -> dict[str, Any]:
    """The comparison of rounds; each pair is (artifact, baseline) seconds per run."""
    ratios = sorted(a / b for a, b in cpu_s)
    interval = stats.median_interval(ratios)
    return {
        "rounds_count": len(ratios),
        "runs_per_leg_count": runs_count,
        "cpu_p50_ratio": stats.median(ratios),
        "cpu_p10_ratio": stats.quantile(ratios, 10),
        "cpu_p90_ratio": stats.quantile(ratios, 90),
        "cpu_p50_ci95_low_ratio": interval.low,
        "cpu_p50_ci95_high_ratio": interval.high,
        "cpu_p50_ci95_reason": interval.reason,
        "artifact_cpu_p50_s": stats.median(a for a, _ in cpu_s),
        "baseline_cpu_p50_s": stats.median(b for _, b in cpu_s),
        "wall_p50_ratio": stats.median(a / b for a, b in wall_s),
        "artifact_wall_p50_s": stats.median(a for a, _ in wall_s),
        "baseline_wall_p50_s": stats.median(b for _, b in wall_s),
        "tolerance_ratio": tolerance,
        "verdict": verdict(interval, tolerance),
    }


def verdict(interval: stats.Interval, tolerance: float) -> str:
    """ "faster" or "slower" only if the whole interval lies beyond the tolerance, else "inconclusive"."""
    if interval.low is None or interval.high is None:
        return "inconclusive"
    if interval.high < 1 - tolerance:
        return "faster"
    return "slower" if interval.low > 1 + tolerance else "inconclusive"


def _ready(spec: Spec, record: Record, whose: str) -> backends.Session:
    """Opens, proves and warms up one of the two."""
    backend = backends.find(spec.artifact, spec.format)
    record[whose] = asdict(artifact.describe(spec.artifact, backend.FORMAT))
    expected = None if spec.golden is None else golden.load(spec.golden)
    version = backend.load_runtime()
    session: backends.Session = backend.open(spec.artifact, spec.threads_count, spec.options)
    feeds = first_feeds(session, expected, spec.seed)
    outputs = session.run(feeds)
    placement = session.placement()
    record[f"{whose}_runtime"] = {"name": backend.RUNTIME, "version": version, "placement": placement}
    record[f"{whose}_golden"] = asdict(prove(session, outputs, expected, spec.golden_atol))
    record["doubts"] += doubts.of_golden(spec.golden, whose, spec.seed)
    warm_up(session, feeds, spec)
    return session


def _pilot_s(session: backends.Session) -> float:
    """Least CPU seconds of one run, of a few."""
    return min(_leg(session, 1)[0] for _ in range(_PILOT_COUNT))


def _leg_length(a_s: float, b_s: float) -> int:
    """Runs per leg: enough for the faster one to fill a leg, few enough for the slower one."""
    fills = math.ceil(_LEG_CPU_S / max(min(a_s, b_s), 1e-7))
    fits = math.floor(_LEG_MAX_CPU_S / max(a_s, b_s, 1e-7))
    return max(1, min(fills, fits, _LEG_MAX_COUNT))


def _leg(session: backends.Session, runs_count: int) -> tuple[float, float]:
    """CPU and wall seconds of some runs together."""
    invoke = session.invoke
    cpu, wall = (clock() for clock in _CLOCKS)
    for _ in range(runs_count):
        invoke()
    wall_end, cpu_end = (clock() for clock in reversed(_CLOCKS))
    return (cpu_end - cpu) / 1e9, (wall_end - wall) / 1e9


def _rounds(
    a: backends.Session, b: backends.Session, runs_count: int, spec: Spec
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """CPU and wall seconds per run, (a, b) of every round. One round at least, then until the limit."""
    cpu: list[tuple[float, float]] = []
    wall: list[tuple[float, float]] = []
    end = time.perf_counter() + spec.max_duration_s
    gc.collect()
    gc.disable()
    try:
        while not cpu or (len(cpu) < spec.rounds_count and time.perf_counter() < end):
            order = (a, b, b, a) if len(cpu) % 2 == 0 else (b, a, a, b)
            legs = [(session is a, _leg(session, runs_count)) for session in order]
            for clock, per_run in enumerate((cpu, wall)):
                of_a, of_b = (
                    sum(leg[clock] for mine, leg in legs if mine is whose) for whose in (True, False)
                )
                per_run.append((of_a / (2 * runs_count), of_b / (2 * runs_count)))
    finally:
        gc.enable()
    return cpu, wall
