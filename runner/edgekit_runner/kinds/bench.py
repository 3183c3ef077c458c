"""`bench`: one record of several fresh processes.

Runs of one process say little about the next (pyperf takes 20 processes for that reason). The value is therefore the
median over the medians of the processes, its interval is by order statistics over those medians, and measuring goes
on until the interval is narrow enough or a limit is reached. A process whose window shows work of others is left out
and replaced; drift in the samples themselves is no reason to leave one out, or the figure would be chosen by its own
value. When too many are disturbed, all of them count and the verdict says so.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TextIO, TypedDict

from edgekit_runner.kinds import check
from edgekit_runner.protocol import Repeated
from edgekit_runner.record import Listener, OneArtifact, Table, quiet
from edgekit_runner.stats import doubts, processes, quantiles
from edgekit_runner.value_rules import Count, Flag, Ratio


@dataclass(frozen=True, kw_only=True)
class Spec(Repeated):
    """Counts and seconds of runs are for all processes together.

    Attributes:
        profile: Whether another process times each operator.
        ci_half_width_ratio: Measuring stops where half the interval of the median, over the median, is at most this.
        min_runs_count: The least number of timed runs.
    """

    kind: ClassVar[str] = "bench"
    stated: ClassVar[tuple[str, ...]] = (
        "protocol", "processes_min_count", "processes_max_count", "max_duration_s", "ci_half_width_ratio",
        "min_runs_count", "min_duration_s",
    )  # fmt: skip

    profile: Flag = False
    ci_half_width_ratio: Ratio = 0.02
    min_runs_count: Count = 100


class Samples(TypedDict):
    """Nanoseconds of each run; the record of one process holds them, that of several does not."""

    wall_ns: Sequence[int]
    cpu_ns: Sequence[int]


class Record(OneArtifact):
    """Latency, memory and energy of one artifact."""

    latency: Table | None
    processes: list[Table] | None
    energy: Table | None
    profile: Table | None
    samples: Samples | None


def run(spec: Spec, listener: Listener = quiet) -> Record:
    """Measures until the interval is narrow enough or a limit is met.

    With `profile` another process follows, whose times per operator are in `profile` and whose nodes in
    `runtime.placement`.

    Returns:
        The record of all processes; or that of the first process that failed.
    """
    from edgekit_runner import spawn

    single = repetition(spec)
    parts: list[Record] = []
    begin = time.perf_counter()
    stopped_by = None
    while stopped_by is None:
        part: Record = spawn.run(single)
        if part["status"] != "ok":
            return _failed(part, len(parts))
        parts.append(part)
        stopped_by = _stop(processes.summaries(parts), time.perf_counter() - begin, spec)
        listener(f"process {len(parts)} of {spec.processes_min_count} to {spec.processes_max_count}")
    record = combine(parts, spec, stopped_by)
    if spec.profile:
        listener("profile")
        _add_profile(record, spawn.run(check.of(spec, profile=True)))
    return record


def combine(parts: Sequence[Mapping[str, Any]], spec: Spec, stopped_by: str) -> Record:
    """Makes one record of several.

    Args:
        parts: Records of one process each, all of them ok.
        spec: What all processes together were asked for.
        stopped_by: Which limit ended the measurement.
    """
    every = processes.summaries(parts)
    mask = processes.counted(every, spec.processes_min_count)
    chosen = [part for part, yes in zip(parts, mask, strict=True) if yes]
    out: Any = {**chosen[0], "protocol": spec.settings(), "samples": None}
    latency = out["latency"] = processes.latency_of(chosen, stopped_by)
    out["processes"] = [{"counted": yes, **process} for process, yes in zip(every, mask, strict=True)]
    out["phases"] = {
        key: quantiles.median(part["phases"][key] for part in chosen) for key in chosen[0]["phases"]
    }
    out["memory"] = processes.memory_of(chosen)
    out["energy"] = processes.energy_of(chosen, latency["runs_count"])
    out["validity"] = processes.verdict_of(processes.summaries(chosen), len(parts) - len(chosen))
    converged, reason = processes.convergence(latency, spec.ci_half_width_ratio)
    out["validity"] |= {"converged": converged, "converged_reason": reason}
    latency["p50_valid"] = out["validity"]["verdict"] != "disturbed"
    out["doubts"] = chosen[0]["doubts"] + _doubts(out, spec)
    record: Record = out
    return record


def repetition(spec: Spec) -> Spec:
    """What one process is asked for: its share of the runs and of the seconds.

    Args:
        spec: What all processes together are asked for.
    """
    count = spec.processes_min_count
    return replace(
        spec,
        min_runs_count=math.ceil(spec.min_runs_count / count),
        min_duration_s=spec.min_duration_s / count,
        max_duration_s=max(spec.max_duration_s / count, spec.min_duration_s / count),
    )


def _stop(of_processes: Sequence[Mapping[str, Any]], elapsed_s: float, spec: Spec) -> str | None:
    """The limit that is met; None where measuring continues."""
    clean = [process for process in of_processes if not process["external"]]
    if len(of_processes) - len(clean) >= spec.processes_min_count:
        return "disturbance"
    if len(clean) >= spec.processes_min_count:
        half = processes.half_width_ratio([process["p50_s"] for process in clean])
        if half is not None and half <= spec.ci_half_width_ratio:
            return "ci_half_width_ratio"
        if elapsed_s >= spec.max_duration_s:
            return "max_duration_s"
    return "processes_max_count" if len(of_processes) >= spec.processes_max_count else None


def _failed(part: Record, done_count: int) -> Record:
    if done_count:
        part["reason"] = f"process {done_count + 1}: {part['reason']}"
    part["samples"] = None
    return part


def _add_profile(record: Record, found: check.Record) -> None:
    """The latency stays as it is, whatever becomes of the profile."""
    if found["status"] != "ok":
        record["doubts"].append(f"There is no profile: {found['reason']}")
        return
    record["profile"] = found["profile"]
    assert record["runtime"] is not None and found["runtime"] is not None
    record["runtime"]["placement"] = found["runtime"]["placement"]


def _doubts(record: Mapping[str, Any], spec: Spec) -> list[str]:
    """Doubts about a measurement of several processes."""
    found = []
    latency, validity = record["latency"], record["validity"]
    if latency["runs_count"] < spec.min_runs_count or latency["duration_s"] < spec.min_duration_s:
        found.append(
            f"{latency['runs_count']} runs in {latency['duration_s']:.2f} s are fewer than asked: "
            f"max_duration_s {spec.max_duration_s} ended it."
        )
    if validity["converged_reason"]:
        found.append(str(validity["converged_reason"]))
    if validity["left_out_processes_count"]:
        found.append(
            f"{validity['left_out_processes_count']} of {len(record['processes'])} processes were disturbed "
            "from outside and left out."
        )
    return found + doubts.of_validity(validity)


def work(spec: Spec, record: Record, parent: TextIO) -> None:
    """Fills the record of one process: its share of the runs.

    Args:
        spec: What the worker was asked for.
        record: A blank record of this kind.
        parent: Not used.

    Raises:
        RunnerError: The artifact does not run, or is not what it should be.
    """
    from edgekit_runner.kinds import _phases, _timing

    with _phases.opened(spec, record) as (session, feeds):
        timed = _timing.time_runs(session, spec.min_runs_count, spec.min_duration_s, spec.max_duration_s)
        latency = record["latency"] = _timing.latency(session, feeds, timed)
        record["energy"] = timed.energy
        record["samples"] = {"wall_ns": timed.wall_ns, "cpu_ns": timed.cpu_ns}
        record["processes"] = [_timing.summary(timed, spec.threads_count, record["memory"] or {})]
    record["doubts"] += doubts.of_latency(latency)
