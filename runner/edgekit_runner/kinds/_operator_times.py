"""Time per operator and where each ran, from the runtime's own profiler, in a session of its own.

Profiling slows the runs down, so that shares are told and the latency is not: that comes from `bench`. A runtime
without a profiler gives "unavailable" with the reason; a share is never estimated. Such a runtime may still tell
where the nodes are placed, so that the placement has a source and a reason of its own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit_runner import backends
from edgekit_runner.backends import Feeds, NotReported, OpCall
from edgekit_runner.record import OneArtifact
from edgekit_runner.spec import Spec

RUNS_COUNT = 20


def add_profile(spec: Spec, feeds: Feeds, record: OneArtifact) -> None:
    """Fills `profile`, and adds to the placement how many nodes ran where.

    Args:
        spec: What the worker was asked for.
        feeds: One set of inputs.
        record: A record that has the section.

    Raises:
        RunnerError: The model does not run.
    """
    backend = backends.find(spec.artifact, spec.format, spec.runtime)
    found = profile(backend, spec.artifact, spec.threads_count, spec.options, feeds, RUNS_COUNT)
    placed = found.pop("placement")
    held: Any = record
    held["profile"] = found
    held["runtime"]["placement"] |= {
        "nodes": placed["nodes"], "nodes_source": placed["source"], "nodes_reason": placed["reason"],
    }  # fmt: skip


def profile(
    backend: Any, path: str, threads: int, options: Mapping[str, Any], feeds: Feeds, runs_count: int
) -> dict[str, Any]:
    """Operators by their total time, and `placement`.

    Args:
        backend: The module of the runtime.
        path: The artifact.
        threads: Threads of the runtime.
        options: Options of the backend.
        feeds: One set of inputs.
        runs_count: How many runs to count, after one that is left out.

    Raises:
        UserError: An option is wrong.
        RunnerError: The model does not run.
    """
    try:
        calls = backend.profile(path, threads, options, feeds, runs_count)
    except NotReported as error:
        calls = None
        found = {"source": "unavailable", "reason": str(error), "runs_count": 0, "total_s": None, "ops": []}
    else:
        found = summarize(calls, _profiler(backend), runs_count)
    return found | {"placement": placement_by_node(backend, path, threads, options, feeds, calls)}


def summarize(calls: Sequence[OpCall], source: str, runs_count: int) -> dict[str, Any]:
    """The section `profile`: one row a node, largest total first, over all runs together.

    Args:
        calls: The calls of all runs.
        source: Who timed them.
        runs_count: How many runs.
    """
    rows: dict[tuple[str, str, str], list[float]] = {}
    for call in calls:
        rows.setdefault((call.name, call.op, call.where), []).append(call.seconds)
    total = sum(call.seconds for call in calls)
    ops: list[dict[str, Any]] = [
        {
            "name": name,
            "op": op,
            "where": where,
            "calls_count": len(seconds),
            "total_s": sum(seconds),
            "share_ratio": sum(seconds) / total if total else None,
        }
        for (name, op, where), seconds in rows.items()
    ]
    ops.sort(key=lambda row: -row["total_s"])
    return {"source": source, "reason": None, "runs_count": runs_count, "total_s": total, "ops": ops}


def placement_by_node(
    backend: Any,
    path: str,
    threads: int,
    options: Mapping[str, Any],
    feeds: Feeds,
    calls: Sequence[OpCall] | None,
) -> dict[str, Any]:
    """How many nodes ran in each place.

    Args:
        backend: The module of the runtime.
        path: The artifact.
        threads: Threads of the runtime.
        options: Options of the backend.
        feeds: One set of inputs.
        calls: The calls of a profile; without one a session of its own is asked.

    Returns:
        {"source", "reason", "nodes": {place: count} or None}.
    """
    if calls is not None:
        nodes = {(call.name, call.op, call.where) for call in calls}
        counts = dict(sorted(Counter(where for _, _, where in nodes).items()))
        return {"source": _profiler(backend), "reason": None, "nodes": counts}
    session = backend.open(path, threads, options)
    session.feed(feeds)  # shapes decide what a delegate takes
    try:
        source, counts = session.nodes()
    except NotReported as error:
        return {"source": "unknown", "reason": str(error), "nodes": None}
    return {"source": source, "reason": None, "nodes": counts}


def _profiler(backend: Any) -> str:
    return f"profiler of {backend.RUNTIME}"
