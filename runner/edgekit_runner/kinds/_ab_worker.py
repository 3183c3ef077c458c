"""Two artifacts in one fresh process, in turns, so that both meet the same disturbance.

A round is four legs, ABBA or (every other round) BAAB, each leg the same number of runs: what drifts linearly during a
round cancels. `compare` makes a ratio of the rounds of several such processes.
"""

import gc
import math
import time
from dataclasses import asdict
from typing import Any

from edgekit_runner import artifact, backends, feeds
from edgekit_runner.backends import Session
from edgekit_runner.golden import archive
from edgekit_runner.host import capacity
from edgekit_runner.kinds import _stream
from edgekit_runner.kinds._phases import first_feeds, prove, warm_up
from edgekit_runner.kinds._timing import thirds
from edgekit_runner.spec import Spec
from edgekit_runner.stats import doubts
from edgekit_runner.stats.quantiles import median
from edgekit_runner.stats.validity import judge

Rounds = list[tuple[float, float]]  # seconds per run, (artifact, baseline) of each round
_LEG_CPU_S = 0.004
_LEG_MAX_CPU_S = 0.25
_LEG_MAX_COUNT = 1000
_PILOT_COUNT = 5
_CLOCKS = (time.process_time_ns, time.perf_counter_ns)


def ready(spec: Spec, record: Any, whose: str) -> Session:
    """Opens, proves and warms up one of the two.

    Args:
        spec: The one artifact, as a check.
        record: The record of this worker, whose sections of this artifact are filled in.
        whose: "artifact" or "baseline", which its sections are named after.

    Raises:
        RunnerError: The artifact does not run, or is not what it should be.
    """
    backend = backends.find(spec.artifact, spec.format, spec.runtime)
    described = artifact.describe(spec.artifact, backend.FORMAT)
    record[whose] = described.section()
    capacity.memory_guard(described.size_bytes)
    expected = None if spec.golden is None else archive.load(spec.golden)
    version = backend.load_runtime()
    session = _stream.opened(backend.open(spec.artifact, spec.threads_count, spec.options), spec.state)
    given = first_feeds(session, expected, spec.seed)
    outputs = session.run(given)
    placement = session.placement()
    record[f"{whose}_runtime"] = {"name": backend.RUNTIME, "version": version, "placement": placement}
    record[f"{whose}_golden"] = asdict(prove(session, outputs, expected, spec.golden_atol))
    record["doubts"] += doubts.of_golden(spec.golden, whose, spec.seed)
    given = feeds.resized(session.inputs, given, spec.batch_count, spec.length_count)
    warm_up(session, given, spec)
    return session


def leg_length(a: Session, b: Session) -> int:
    """Runs per leg: enough for the faster one to fill a leg, few enough for the slower one."""
    a_s, b_s = (min(_leg(session, 1)[0] for _ in range(_PILOT_COUNT)) for session in (a, b))
    fills = math.ceil(_LEG_CPU_S / max(min(a_s, b_s), 1e-7))
    fits = math.floor(_LEG_MAX_CPU_S / max(a_s, b_s, 1e-7))
    return max(1, min(fills, fits, _LEG_MAX_COUNT))


def _leg(session: Session, runs_count: int) -> tuple[float, float]:
    """CPU and wall seconds of some runs together."""
    invoke = session.invoke
    cpu, wall = (clock() for clock in _CLOCKS)
    for _ in range(runs_count):
        invoke()
    wall_end, cpu_end = (clock() for clock in reversed(_CLOCKS))
    return (cpu_end - cpu) / 1e9, (wall_end - wall) / 1e9


def rounds(
    a: Session, b: Session, runs_count: int, rounds_count: int, max_duration_s: float
) -> tuple[Rounds, Rounds]:
    """One round at least, then until one of the limits.

    Args:
        a: The artifact.
        b: The baseline.
        runs_count: Runs per leg.
        rounds_count: How many rounds.
        max_duration_s: After how long no round begins.

    Returns:
        CPU and wall seconds of all rounds.
    """
    cpu: Rounds = []
    wall: Rounds = []
    end = time.perf_counter() + max_duration_s
    gc.collect()
    gc.disable()
    try:
        while not cpu or (len(cpu) < rounds_count and time.perf_counter() < end):
            of_cpu, of_wall = _round(a, b, runs_count, swap=len(cpu) % 2 == 1)
            cpu.append(of_cpu)
            wall.append(of_wall)
    finally:
        gc.enable()
    return cpu, wall


def _round(a: Session, b: Session, runs_count: int, swap: bool) -> tuple[tuple[float, float], ...]:
    """CPU and wall seconds per run, (a, b) each."""
    order = (b, a, a, b) if swap else (a, b, b, a)
    legs = [(session is a, _leg(session, runs_count)) for session in order]
    found = []
    for clock in range(len(_CLOCKS)):
        of_a, of_b = (sum(leg[clock] for mine, leg in legs if mine is whose) for whose in (True, False))
        found.append((of_a / (2 * runs_count), of_b / (2 * runs_count)))
    return tuple(found)


def summary(cpu: Rounds, wall: Rounds, seen: dict[str, Any], threads_count: int) -> dict[str, Any]:
    """What this process adds to `processes`: drift is judged on rounds, both artifacts together.

    Args:
        cpu: CPU seconds of all rounds.
        wall: Wall seconds of all rounds.
        seen: What the counters of the machine saw.
        threads_count: Threads of the runtime.
    """
    of_wall, of_cpu = ([a + b for a, b in rounds] for rounds in (wall, cpu))
    medians = [median(part) for part in (*thirds(of_wall), *thirds(of_cpu))]
    return {
        "rounds_count": len(cpu),
        "cpu_p50_ratio": median(a / b for a, b in cpu),
        "wall_p50_ratio": median(a / b for a, b in wall),
        "wall_cpu_ratio": sum(of_wall) / sum(of_cpu) if sum(of_cpu) else None,
        "window": seen,
        **asdict(judge(seen, threads_count, *medians)),
    }
