"""`turns`: many artifacts in one fresh process, one after the other, round after round: what each costs beside the others.

For tables, as of a layer at every width: what matters is which is cheaper and by how much, so all meet the same
disturbance, and whatever disturbs only adds. Each round runs every artifact once, in an order that the seed shuffles;
a turn is as many runs as fill `_TURN_CPU_S`, after one that is not counted and brings its weights into the caches.
CPU seconds per run: the minimum is the figure, the lower decile and the median tell how noisy the rounds were.
"""

import gc
import math
import random
import time
from dataclasses import asdict
from typing import Any

from edgekit_runner import artifact, backends, golden
from edgekit_runner.errors import UserError
from edgekit_runner.host import affinity, capacity, environment
from edgekit_runner.kinds._phases import first_feeds, warm_up
from edgekit_runner.protocol import describe as protocol
from edgekit_runner.record import Record
from edgekit_runner.spec import Spec
from edgekit_runner.stats import doubts, quantiles
from edgekit_runner.stats.validity import judge
from edgekit_runner.stats.window import Window

MOST_COUNT = 512
_TURN_CPU_S = 0.002
_TURN_MAX_COUNT = 200
_PILOT_COUNT = 3


def run(spec: Spec, record: Record) -> None:
    """Fills the record; `turns` has a figure for each artifact, in the order given. Raises `RunnerError`."""
    paths = (spec.artifact, *spec.others)
    if len(paths) > MOST_COUNT:
        raise UserError(f"{len(paths)} artifacts are given; allowed: at most {MOST_COUNT} in one job.")
    record["environment"] = environment.describe()
    record["protocol"] = protocol(spec)
    record["doubts"] += doubts.of_environment(record["environment"], spec.threads_count)
    if spec.affinity is not None:
        affinity.apply(affinity.resolve(spec.affinity))
    sessions = [_ready(path, spec, record) for path in paths]
    counts = [_turn_length(session) for session in sessions]
    window = Window()
    window.begin()
    rounds = _rounds(sessions, counts, spec)
    seen = window.end()
    record["turns"] = [
        {**described, **_figures([one[i] for one in rounds]), "runs_per_turn_count": counts[i]}
        for i, described in enumerate(record["turns"])
    ]
    record["validity"] = _verdict(rounds, seen, spec.threads_count)


def _ready(path: str, spec: Spec, record: Record) -> backends.Session:
    """Opens one and runs it until it is warm; the first also tells the runtime."""
    backend = backends.find(path, spec.format)
    described = artifact.describe(path, backend.FORMAT)
    capacity.memory_guard(described.size_bytes)
    version = backend.load_runtime()
    session: backends.Session = backend.open(path, spec.threads_count, spec.options)
    feeds = first_feeds(session, None, spec.seed)
    golden.refuse_nan(session.run(feeds))
    warm_up(session, feeds, spec)
    if record["artifact"] is None:
        placement = session.placement()
        record["artifact"] = asdict(described)
        record["runtime"] = {"name": backend.RUNTIME, "version": version, "placement": placement}
        record["turns"] = []
    record["turns"].append({"path": path, "sha256": described.sha256})
    return session


def _turn_length(session: backends.Session) -> int:
    fastest = min(_turn(session, 1) for _ in range(_PILOT_COUNT))
    return max(1, min(math.ceil(_TURN_CPU_S / max(fastest, 1e-7)), _TURN_MAX_COUNT))


def _turn(session: backends.Session, runs_count: int) -> float:
    """CPU seconds per run."""
    invoke = session.invoke
    invoke()
    begin = time.process_time_ns()
    for _ in range(runs_count):
        invoke()
    return (time.process_time_ns() - begin) / 1e9 / runs_count


def _rounds(sessions: list[backends.Session], counts: list[int], spec: Spec) -> list[list[float]]:
    """CPU seconds per run, [round][artifact]. One round at least, then until one of the limits."""
    order = list(range(len(sessions)))
    shuffle = random.Random(spec.seed).shuffle
    found: list[list[float]] = []
    end = time.perf_counter() + spec.max_duration_s
    gc.collect()
    gc.disable()
    try:
        while not found or (len(found) < spec.rounds_count and time.perf_counter() < end):
            shuffle(order)
            row = [0.0] * len(sessions)
            for i in order:
                row[i] = _turn(sessions[i], counts[i])
            found.append(row)
    finally:
        gc.enable()
    return found


def _figures(values: list[float]) -> dict[str, Any]:
    ordered = sorted(values)
    return {
        "cpu_min_s": ordered[0],
        "cpu_p10_s": quantiles.quantile(ordered, 10),
        "cpu_p50_s": quantiles.median(ordered),
        "rounds_count": len(ordered),
    }


def _verdict(rounds: list[list[float]], seen: dict[str, Any], threads_count: int) -> dict[str, Any]:
    """Drift is judged on rounds, all artifacts together."""
    totals = [sum(row) for row in rounds]
    third = max(1, len(totals) // 3)
    first, last = quantiles.median(totals[:third]), quantiles.median(totals[-third:])
    found = asdict(judge(seen, threads_count, first, last, first, last))
    return {
        "verdict": found["verdict"],
        "causes": found["causes"],
        "unreadable": found["unreadable"],
        "left_out_processes_count": 0,
    }
