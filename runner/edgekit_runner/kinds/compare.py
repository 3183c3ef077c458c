"""`compare`: which of two artifacts is faster, and how sure that is.

Each process runs both in turns (see `_ab_worker`), so that both meet the same disturbance; several processes, because
where memory lies differs from one to the next and favours one of the two for a process's whole life. The ratio is the
median over all rounds, with the interval of `stats.ratio`. CPU time decides on one thread: it barely moves when another
program takes the CPU away; with more threads wall time does, because CPU time does not tell whether they ran side by
side. Under 1 the artifact is the faster one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, TextIO

from edgekit_runner import record as records
from edgekit_runner.artifact import ArtifactSection
from edgekit_runner.errors import UserError
from edgekit_runner.kinds import check
from edgekit_runner.protocol import Repeated
from edgekit_runner.record import Head, Listener, RuntimeSection, Table, quiet
from edgekit_runner.stats import doubts, ratio
from edgekit_runner.stats.processes import verdict_of
from edgekit_runner.stats.validity import ValiditySection
from edgekit_runner.value_rules import Count, OptionalCount, OptionalText, Options, Ratio, Rule, Tolerance

FEW_PROCESSES_COUNT = 3
_NO_BASELINE = "kind 'compare' needs the spec key 'baseline', and no other kind takes it."


@dataclass(frozen=True, kw_only=True)
class Spec(Repeated):
    """Counts and durations of rounds are for all processes together.

    Attributes:
        baseline: The artifact to compare with; the other keys that begin with `baseline_` are about it.
        rounds_count: Rounds of four legs.
        runs_per_leg_count: Runs in a leg; None lets the worker choose.
        tolerance_ratio: How far from 1 a ratio counts as equal.
    """

    kind: ClassVar[str] = "compare"
    stated: ClassVar[tuple[str, ...]] = (
        "protocol", "processes_min_count", "processes_max_count", "max_duration_s", "baseline_golden_atol",
        "baseline_options", "rounds_count", "runs_per_leg_count", "tolerance_ratio",
    )  # fmt: skip

    baseline: Annotated[str, Rule("text", optional=True, refusal=_NO_BASELINE)]
    baseline_format: OptionalText = None
    baseline_runtime: OptionalText = None
    baseline_golden: OptionalText = None
    baseline_golden_atol: Tolerance = None
    baseline_options: Options = field(default_factory=dict)
    rounds_count: Count = 48
    runs_per_leg_count: OptionalCount = None
    tolerance_ratio: Ratio = 0.05

    @classmethod
    def complete(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Adds the preset; `UserError` without an artifact or a baseline."""
        whole = super().complete(given)
        if given.get("baseline") is None:
            raise UserError(_NO_BASELINE)
        return whole

    def swapped(self) -> "Spec":
        """The comparison with the two artifacts in each other's place."""
        return replace(
            self, artifact=self.baseline, format=self.baseline_format, runtime=self.baseline_runtime, golden=self.baseline_golden,
            golden_atol=self.baseline_golden_atol, options=self.baseline_options, baseline=self.artifact,
            baseline_format=self.format, baseline_runtime=self.runtime, baseline_golden=self.golden, baseline_golden_atol=self.golden_atol,
            baseline_options=self.options,
        )  # fmt: skip

    def artifact_alone(self) -> check.Spec:
        """The first artifact, as a check."""
        return check.of(self)

    def baseline_alone(self) -> check.Spec:
        """The second artifact, as a check."""
        return check.of(self.swapped())


class Record(Head):
    """Both artifacts, and the ratio of their times."""

    artifact: ArtifactSection | None
    baseline: ArtifactSection | None
    artifact_runtime: RuntimeSection | None
    baseline_runtime: RuntimeSection | None
    artifact_golden: Table | None
    baseline_golden: Table | None
    comparison: Table | None
    processes: list[Table] | None
    validity: ValiditySection | None
    artifact_memory: Table | None
    baseline_memory: Table | None


def run(spec: Spec, listener: Listener = quiet) -> Record:
    """Proves and weighs each artifact alone, then times both in turns, in several processes.

    Returns:
        The record of all processes. When either does not pass, nothing is timed, and its reason is in the record.
    """
    from edgekit_runner import spawn

    weights: dict[str, Any] = {}
    for whose, single in (("artifact", spec.artifact_alone()), ("baseline", spec.baseline_alone())):
        checked = spawn.run(single)
        if checked["status"] != "ok":
            return _refused(spec, whose, checked)
        weights[f"{whose}_memory"] = checked["memory"]
        listener(f"{whose} proven and weighed")
    parts: list[Any] = []
    share = _share(spec)
    for number in range(1, spec.processes_min_count + 1):
        part = _part(share, swap=number % 2 == 0)
        if part["status"] != "ok":
            return part | weights
        parts.append(part)
        listener(f"process {number} of {spec.processes_min_count}")
    return combine(parts, spec) | weights


def _part(share: Spec, swap: bool) -> Any:
    """The rounds of one process.

    Every second one loads the baseline first, because what is loaded first lies elsewhere in memory: an artifact
    against itself was off by 1 % in favour of the first.
    """
    from edgekit_runner import spawn

    if not swap:
        return spawn.run(share)
    part = spawn.run(share.swapped())
    if part["status"] == "ok":
        found = part["comparison"]
        found |= {key: [(a, b) for b, a in found[key]] for key in ("rounds_cpu_s", "rounds_wall_s")}
        for process in part["processes"]:
            process |= {key: 1 / process[key] for key in ("cpu_p50_ratio", "wall_p50_ratio")}
    return part


def combine(parts: Sequence[Mapping[str, Any]], spec: Spec) -> Any:
    """Makes one record of the rounds of all processes.

    Args:
        parts: Records of one process each, all of them ok, the artifact first in each round.
        spec: What all processes together were asked for.

    Returns:
        A `Record`, still without the memory of the two.
    """
    out: Any = {**parts[0], "protocol": spec.settings()}
    out["comparison"] = summarize([part["comparison"] for part in parts], spec)
    out["processes"] = [process for part in parts for process in part["processes"]]
    out["validity"] = verdict_of(out["processes"], 0)
    out["doubts"] = parts[0]["doubts"] + _doubts(out, spec)
    return out


def summarize(parts: Sequence[Mapping[str, Any]], spec: Spec) -> dict[str, Any]:
    """The section `comparison`.

    Args:
        parts: What `_ab_worker` saw in each process: rounds of (artifact, baseline) seconds per run.
        spec: What all processes together were asked for.
    """
    clock = "cpu" if spec.threads_count == 1 else "wall"
    out: dict[str, Any] = {
        "processes_count": len(parts),
        "rounds_count": sum(len(part["rounds_cpu_s"]) for part in parts),
        "runs_per_leg_count": parts[0]["runs_per_leg_count"],
        "tolerance_ratio": spec.tolerance_ratio,
        "decided_by": clock,
        **ratio.figures("cpu", [part["rounds_cpu_s"] for part in parts], spec.seed),
        **ratio.figures("wall", [part["rounds_wall_s"] for part in parts], spec.seed),
        "artifact_wall_rounds_s": [a for part in parts for a, _ in part["rounds_wall_s"]],
        "baseline_wall_rounds_s": [b for part in parts for _, b in part["rounds_wall_s"]],
    }
    low, high = (out[f"{clock}_p50_ci95_{end}_ratio"] for end in ("low", "high"))
    return {**out, "verdict": ratio.verdict(low, high, spec.tolerance_ratio)}


def _share(spec: Spec) -> Spec:
    """What one process is asked for."""
    count = spec.processes_min_count
    seconds = spec.max_duration_s / count
    return replace(
        spec,
        rounds_count=math.ceil(spec.rounds_count / count),
        min_duration_s=min(spec.min_duration_s, seconds),
        max_duration_s=seconds,
    )


def _refused(spec: Spec, whose: str, checked: check.Record) -> Record:
    record = records.blank("compare")
    record |= {"environment": checked["environment"], "doubts": checked["doubts"]}
    record["protocol"] = spec.settings()
    record[whose] = checked["artifact"]
    found: Mapping[str, Any] = checked
    record |= {f"{whose}_{key}": found[key] for key in ("runtime", "golden", "memory")}
    refused: Record = record
    return records.fail(
        refused, f"{whose}: {checked['reason']}", str(checked["error_kind"]), checked["status"]
    )


def _doubts(record: Mapping[str, Any], spec: Spec) -> list[str]:
    """Doubts about a comparison."""
    found = []
    rounds, processes = (record["comparison"][f"{what}_count"] for what in ("rounds", "processes"))
    if rounds < spec.rounds_count:
        found.append(f"The time limit of {spec.max_duration_s} s ended it after {rounds} rounds.")
    if processes < FEW_PROCESSES_COUNT:
        found.append(
            f"{processes} process(es): the interval hardly holds what differs between processes; "
            f"take {FEW_PROCESSES_COUNT} or more."
        )
    if spec.threads_count == 1 and record["validity"]["verdict"] == "disturbed":
        causes = " ".join(record["validity"]["causes"][:2])
        said = f"Disturbed, and the ratio is of CPU time, which hardly moves with others' work. {causes}"
        return [*found, said]
    return found + doubts.of_validity(record["validity"])


def work(spec: Spec, record: Record, parent: TextIO) -> None:
    """Fills the record of one process: its share of the rounds.

    Args:
        spec: What the worker was asked for.
        record: A blank record of this kind.
        parent: Not used.

    Raises:
        RunnerError: One of the two does not run, or is not what it should be.
    """
    from edgekit_runner.kinds import _ab_worker, _phases
    from edgekit_runner.stats.window import Window

    _phases.begin(spec, record)
    _phases.bind(spec)
    a = _ab_worker.ready(spec.artifact_alone(), record, "artifact")
    b = _ab_worker.ready(spec.baseline_alone(), record, "baseline")
    runs_count = spec.runs_per_leg_count or _ab_worker.leg_length(a, b)
    window = Window()
    window.begin()
    cpu, wall = _ab_worker.rounds(a, b, runs_count, spec.rounds_count, spec.max_duration_s)
    seen = window.end()
    record["comparison"] = {"runs_per_leg_count": runs_count, "rounds_cpu_s": cpu, "rounds_wall_s": wall}
    record["processes"] = [_ab_worker.summary(cpu, wall, seen, spec.threads_count)]
