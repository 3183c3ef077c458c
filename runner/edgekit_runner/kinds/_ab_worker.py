"""Two artifacts in one fresh process, in turns, so that both meet the same disturbance.

A round is four legs, ABBA or (every other round) BAAB, each leg the same number of runs: what drifts
linearly during a round cancels. `comparison` makes a ratio of the rounds of several such processes.
"""

import gc
import math
import time
from dataclasses import asdict
from typing import Any

from edgekit_runner import artifact, backends, golden
from edgekit_runner.host import affinity, capacity, environment
from edgekit_runner.kinds import _batch
from edgekit_runner.kinds._phases import first_feeds, prove, warm_up
from edgekit_runner.protocol import describe as protocol
from edgekit_runner.record import Record
from edgekit_runner.spec import Spec
from edgekit_runner.stats import doubts
from edgekit_runner.stats.quantiles import median
from edgekit_runner.stats.validity import judge
from edgekit_runner.stats.window import Window

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
    if spec.affinity is not None:
        affinity.apply(affinity.resolve(spec.affinity))
    a = _ready(spec.artifact_alone(), record, "artifact")
    b = _ready(spec.baseline_alone(), record, "baseline")
    runs_count = spec.runs_per_leg_count or _leg_length(_pilot_s(a), _pilot_s(b))
    window = Window()
    window.begin()
    cpu, wall = _rounds(a, b, runs_count, spec)
    seen = window.end()
    record["comparison"] = {"runs_per_leg_count": runs_count, "rounds_cpu_s": cpu, "rounds_wall_s": wall}
    record["processes"] = [_summary(cpu, wall, seen, spec.threads_count)]


def _summary(
    cpu: list[tuple[float, float]], wall: list[tuple[float, float]], seen: dict[str, Any], threads_count: int
) -> dict[str, Any]:
    """What this process adds to `processes`: drift is judged on rounds, both artifacts together."""
    third = max(1, len(cpu) // 3)
    of_wall, of_cpu = ([a + b for a, b in rounds] for rounds in (wall, cpu))
    verdict = judge(
        seen, threads_count, median(of_wall[:third]), median(of_wall[-third:]), median(of_cpu[:third]),
        median(of_cpu[-third:]),
    )  # fmt: skip
    return {
        "rounds_count": len(cpu),
        "cpu_p50_ratio": median(a / b for a, b in cpu),
        "wall_p50_ratio": median(a / b for a, b in wall),
        "wall_cpu_ratio": sum(of_wall) / sum(of_cpu) if sum(of_cpu) else None,
        "window": seen,
        **asdict(verdict),
    }


def _ready(spec: Spec, record: Record, whose: str) -> backends.Session:
    """Opens, proves and warms up one of the two."""
    backend = backends.find(spec.artifact, spec.format)
    record[whose] = asdict(artifact.describe(spec.artifact, backend.FORMAT))
    capacity.memory_guard(record[whose]["size_bytes"])
    expected = None if spec.golden is None else golden.load(spec.golden)
    version = backend.load_runtime()
    session: backends.Session = backend.open(spec.artifact, spec.threads_count, spec.options)
    feeds = first_feeds(session, expected, spec.seed)
    outputs = session.run(feeds)
    placement = session.placement()
    record[f"{whose}_runtime"] = {"name": backend.RUNTIME, "version": version, "placement": placement}
    record[f"{whose}_golden"] = asdict(prove(session, outputs, expected, spec.golden_atol))
    record["doubts"] += doubts.of_golden(spec.golden, whose, spec.seed)
    if spec.batch_count is not None:
        feeds = _batch.with_batch(session.inputs, feeds, spec.batch_count)
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
