"""`throughput`: how many inferences a second several processes of one artifact give together.

Each instance is a fresh process (see `_instance`); all begin at one moment (see `_process_group`). The rate is the runs
of all over the time from that moment to the end of the last, so it errs to the low side, by less than one run
an instance. That the instances take CPUs from each other is the subject, not a disturbance; what the machine
did beyond all of them is. Peak memory in sum counts a page that they share once for each; the sum of USS
counts private pages only and is taken while all of them hold theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, TextIO

from edgekit_runner import record as records
from edgekit_runner.host import capacity
from edgekit_runner.protocol import Lasting
from edgekit_runner.record import Listener, OneArtifact, Table, quiet
from edgekit_runner.stats import doubts, quantiles
from edgekit_runner.stats.validity import ValiditySection, Verdict, judge
from edgekit_runner.value_rules import Rule

INSTANCES_MOST_COUNT = 256
FEW_RUNS_COUNT = 20
LATE_RATIO = 0.05
_SUMMED = ("cpu_s", "major_faults_count", "involuntary_switches_count")
_SHARED = ("steal_s", "cpu_pressure_s", "run_queue_wait_s", "throttled_count", "throttled_s")


@dataclass(frozen=True, kw_only=True)
class Spec(Lasting):
    """`duration_s` is for each count.

    Attributes:
        instances_count: How many processes run at once, one count after the other.
    """

    kind: ClassVar[str] = "throughput"
    stated: ClassVar[tuple[str, ...]] = ("duration_s", "instances_count")

    instances_count: Annotated[Sequence[int], Rule("counts", 1, INSTANCES_MOST_COUNT)] = (1, 2)


class Record(OneArtifact):
    """`throughput` has `rows`, one for each count; in the record of one worker it is what that instance saw."""

    throughput: Table | None


def run(spec: Spec, listener: Listener = quiet) -> Record:
    """Measures each count of instances, one after the other.

    Returns:
        The record of all; or, when one failed, its record with the rows that were complete.
    """
    from edgekit_runner.kinds import _process_group

    groups: list[list[Any]] = []
    for count in spec.instances_count:
        listener(f"{count} instance(s)")
        one = replace(spec, instances_count=(count,))
        parts = _too_much(groups, count) or _process_group.run(one, count)
        if parts[0]["status"] != "ok":
            done = {"rows": summarize(groups, spec.threads_count)} if groups else None
            return parts[0] | {"protocol": spec.settings(), "throughput": done}
        groups.append(parts)
    rows = summarize(groups, spec.threads_count)
    validity = _validity(rows)
    return groups[0][0] | {
        "protocol": spec.settings(),
        "throughput": {"rows": rows},
        "validity": validity,
        # later groups would take the load of the earlier ones for work of others
        "doubts": [*groups[0][0]["doubts"], *_doubts(rows, validity, spec.threads_count)],
    }


def work(spec: Spec, record: Record, parent: TextIO) -> None:
    """Fills the record of one instance.

    Args:
        spec: What the worker was asked for.
        record: A blank record of this kind.
        parent: Its stdout, to speak to the caller.

    Raises:
        RunnerError: The artifact does not run, is not what it should be, or another instance failed.
    """
    from edgekit_runner.kinds import _instance, _phases

    with _phases.opened(spec, record) as (session, _):
        peak = (record["memory"] or {})["peak_bytes"]
        record["throughput"] = _instance.measure(session, spec.duration_s, peak, parent)


def _too_much(groups: Sequence[Sequence[Any]], count: int) -> list[Any]:
    """A record that says so, where this count needs more memory than there is; else nothing."""
    held = groups[-1][0]["throughput"]["uss_bytes"] if groups else None
    left = capacity.available_bytes()
    if held is None or left is None or held * count <= left:
        return []
    reason = (
        f"{count} instances need some {held * count / 1e9:.3g} GB ({held / 1e9:.3g} GB each, as measured) and "
        f"{left / 1e9:.3g} GB of memory are available; give fewer."
    )
    failed: Any = {**groups[-1][0]}
    return [records.fail(failed, reason, "runtime")]


def summarize(groups: Sequence[Sequence[Mapping[str, Any]]], threads_count: int) -> list[dict[str, Any]]:
    """Makes one row for each count; `scaling_ratio` is the rate over that of one instance, None without one.

    Args:
        groups: The records of the instances of each count.
        threads_count: Threads of the runtime in each instance.
    """
    rows = [_row([part["throughput"] for part in parts], threads_count) for parts in groups]
    alone = [row["inferences_per_second_hz"] for row in rows if row["instances_count"] == 1]
    for row in rows:
        scaling = row["inferences_per_second_hz"] / alone[0] if alone else None
        row["scaling_ratio"] = scaling
        row["efficiency_ratio"] = None if scaling is None else scaling / row["instances_count"]
    return rows


def _row(seen: Sequence[dict[str, Any]], threads_count: int) -> dict[str, Any]:
    window_s = max(one["end_s"] for one in seen) - min(one["start_s"] for one in seen)
    runs_count = sum(one["runs_count"] for one in seen)
    medians = [one["p50_s"] for one in seen]
    verdict = _judged(seen, window_s, threads_count)
    return {
        "instances_count": len(seen),
        "window_s": window_s,
        "runs_count": runs_count,
        "inferences_per_second_hz": runs_count / window_s,
        "p50_s": quantiles.median(medians),
        "p50_low_s": min(medians),
        "p50_high_s": max(medians),
        "cpu_per_inference_s": sum(one["cpu_s"] for one in seen) / runs_count,
        "peak_sum_bytes": _of([one["peak_bytes"] for one in seen], sum),
        "uss_sum_bytes": _of([one["uss_bytes"] for one in seen], sum),
        "verdict": verdict.verdict,
        "causes": list(verdict.causes),
        "unreadable": list(verdict.unreadable),
        "instances": list(seen),
    }


def _judged(seen: Sequence[dict[str, Any]], window_s: float, threads_count: int) -> Verdict:
    """What the machine did beyond all instances: each one's window counts the others as other programs."""
    windows = [one["window"] for one in seen]
    out = {**windows[0], "wall_s": window_s}
    out |= {key: _of([window[key] for window in windows], sum) for key in _SUMMED}
    out |= {key: _of([window[key] for window in windows], max) for key in _SHARED}
    busy = [_of([window["other_busy_s"], window["cpu_s"]], sum) for window in windows]
    whole = _of(busy, quantiles.median)
    out["other_busy_s"] = None if whole is None else max(0.0, whole - out["cpu_s"])
    run_s = seen[0]["p50_s"]
    return judge(out, threads_count * len(seen), run_s, run_s, run_s, run_s)


def _of(values: Sequence[Any], function: Callable[[Sequence[Any]], Any]) -> Any:
    return None if None in values else function(values)


def _validity(rows: Sequence[dict[str, Any]]) -> ValiditySection:
    """The worst verdict of the rows."""
    verdicts = [row["verdict"] for row in rows]
    return {
        "verdict": next((worst for worst in ("disturbed", "unknown") if worst in verdicts), "ok"),
        "causes": [
            f"{row['instances_count']} instance(s): {cause}" for row in rows for cause in row["causes"]
        ],
        "unreadable": sorted({name for row in rows for name in row["unreadable"]}),
        "left_out_processes_count": 0,
    }


def _row_doubts(row: dict[str, Any], threads_count: int) -> list[str]:
    found = []
    count, least = row["instances_count"], min(one["runs_count"] for one in row["instances"])
    cpus = row["instances"][0]["window"]["usable_cpu_count"]
    if cpus is not None and count * threads_count > cpus:
        found.append(
            f"{count} instances of {threads_count} thread(s) share {cpus} CPU(s) and wait for each other."
        )
    if least < FEW_RUNS_COUNT:
        found.append(
            f"With {count} instance(s) one made only {least} run(s): the rate is low by up to a run each; "
            "give more seconds."
        )
    late_s = max(one["start_s"] for one in row["instances"])
    if late_s > LATE_RATIO * row["window_s"]:
        found.append(f"With {count} instances one began {late_s:.2f} s late: they did not all run at once.")
    return found


def _doubts(rows: Sequence[dict[str, Any]], validity: ValiditySection, threads_count: int) -> list[str]:
    found = [doubt for row in rows for doubt in _row_doubts(row, threads_count)]
    if rows[0]["peak_sum_bytes"] is not None and len(rows[-1]["instances"]) > 1:
        found.append(
            "Peak memory is a sum that counts pages which instances share once for each; USS counts none of them."
        )
    if validity["verdict"] == "disturbed":
        causes = " ".join(validity["causes"])
        return [*found, f"Disturbed: left alone, the machine may give a higher rate. {causes}"]
    return found + doubts.of_validity(validity)
