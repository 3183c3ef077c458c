"""Many artifacts in one fresh process, one after the other, round after round, so that all meet the same disturbance.

Each round runs every artifact once, in an order that the seed shuffles; a turn is as many runs as fill `_TURN_CPU_S`,
after one that is not counted and brings its weights into the caches.
"""

import gc
import math
import random
import time
from collections.abc import Sequence
from typing import TypedDict

from edgekit_runner import backends
from edgekit_runner.artifact import ArtifactInfo, describe
from edgekit_runner.backends import Session
from edgekit_runner.golden import proof
from edgekit_runner.host import capacity
from edgekit_runner.kinds._phases import first_feeds, warm_up
from edgekit_runner.record import RuntimeSection
from edgekit_runner.spec import Spec
from edgekit_runner.stats import quantiles

_TURN_CPU_S = 0.002
_TURN_MAX_COUNT = 200
_PILOT_COUNT = 3


class Figures(TypedDict):
    """CPU seconds per run of one artifact, over all rounds."""

    cpu_min_s: float
    cpu_p10_s: float
    cpu_p50_s: float
    rounds_count: int


def ready(path: str, spec: Spec) -> tuple[Session, ArtifactInfo, RuntimeSection]:
    """Opens one artifact and runs it until it is warm.

    Args:
        path: The artifact.
        spec: The settings, which all artifacts share.

    Returns:
        The session, the artifact, and the runtime without the placement, which nobody asked for yet.

    Raises:
        RunnerError: The artifact does not run, or its output holds NaN.
    """
    backend = backends.find(path, spec.format, spec.runtime)
    described = describe(path, backend.FORMAT)
    capacity.memory_guard(described.size_bytes)
    version = backend.load_runtime()
    session: Session = backend.open(path, spec.threads_count, spec.options)
    given = first_feeds(session, None, spec.seed)
    proof.refuse_nan(session.run(given))
    warm_up(session, given, spec)
    return session, described, {"name": backend.RUNTIME, "version": version, "placement": None}


def turn_length(session: Session) -> int:
    """How many runs fill a turn."""
    fastest = min(_turn(session, 1) for _ in range(_PILOT_COUNT))
    return max(1, min(math.ceil(_TURN_CPU_S / max(fastest, 1e-7)), _TURN_MAX_COUNT))


def _turn(session: Session, runs_count: int) -> float:
    """CPU seconds per run."""
    invoke = session.invoke
    invoke()
    begin = time.process_time_ns()
    for _ in range(runs_count):
        invoke()
    return (time.process_time_ns() - begin) / 1e9 / runs_count


def rounds(
    sessions: Sequence[Session], counts: Sequence[int], seed: int, rounds_count: int, max_duration_s: float
) -> list[list[float]]:
    """One round at least, then until one of the limits.

    Args:
        sessions: The artifacts, warm and fed.
        counts: Runs in a turn of each.
        seed: Of the order in each round.
        rounds_count: How many rounds.
        max_duration_s: After how long no round begins.

    Returns:
        CPU seconds per run, [round][artifact].
    """
    order = list(range(len(sessions)))
    shuffle = random.Random(seed).shuffle
    found: list[list[float]] = []
    end = time.perf_counter() + max_duration_s
    gc.collect()
    gc.disable()
    try:
        while not found or (len(found) < rounds_count and time.perf_counter() < end):
            shuffle(order)
            row = [0.0] * len(sessions)
            for i in order:
                row[i] = _turn(sessions[i], counts[i])
            found.append(row)
    finally:
        gc.enable()
    return found


def figures(values: Sequence[float]) -> Figures:
    """The figures of one artifact from its CPU seconds per run in each round."""
    ordered = sorted(values)
    return {
        "cpu_min_s": ordered[0],
        "cpu_p10_s": quantiles.quantile(ordered, 10),
        "cpu_p50_s": quantiles.median(ordered),
        "rounds_count": len(ordered),
    }
