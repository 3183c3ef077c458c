"""What a run tells: the decision on each attempt, and the report."""

from edgekit.errors import BudgetError
from edgekit.records._base import Record
from edgekit.records.artifacts import Artifact, Candidate
from edgekit.records.blame import Blame
from edgekit.records.inputs import Budget, Plan, Recipe
from edgekit.records.layer_cost import LayerCost
from edgekit.records.results import Measurement, Verdict
from edgekit.records.runtimes import RuntimeChoice


class Shortfall(Record):
    """A limit that an attempt broke.

    Attributes:
        limit: A field of Budget, or something without a number (precision lint, saturation).
        excess: How far it was missed, as a share of the limit: 0.5 is by half; None where it has no number.
    """

    limit: str
    allowed: float | None = None
    found: float | None = None
    excess: float | None = None


class Decision(Record):
    """The gate's decision on one attempt.

    Attributes:
        reasons: Every limit that failed, or why the attempt was accepted.
        not_measured: Limits that could not be judged.
        doubts: What a limit that the budget lowered let pass, and whether the samples are too few to tell.
    """

    accepted: bool
    reasons: tuple[str, ...]
    not_measured: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()


class StageTime(Record):
    """What a stage cost: wall seconds and the peak memory of its own process.

    Attributes:
        peak_memory_bytes: Of its own: without what it shares with the server that it was forked from.
        shared_memory_bytes: The frameworks that the server had in memory; 0 for a fresh interpreter.
        reused: Whether an earlier run had finished it; the figures are those of that run.
        cpu_s: CPU seconds of its process and of those that it started; None where an older edgekit wrote it.
    """

    stage: str
    wall_s: float
    peak_memory_bytes: int | None = None
    shared_memory_bytes: int = 0
    reused: bool = False
    cpu_s: float | None = None


class Attempt(Record):
    """One rung of the ladder, as far as it got.

    Attributes:
        blame: Where it departs from the float model; looked for when the answers are wrong, and at the first attempt that
            misses the accuracy budget.
        error: The sentence of a stage that failed.
        runtimes: An accepted file in the target's other runtimes; None where it names none.
    """

    recipe: Recipe
    decision: Decision
    candidate: Candidate | None = None
    artifact: Artifact | None = None
    verdict: Verdict | None = None
    measurement: Measurement | None = None
    blame: Blame | None = None
    error: str | None = None
    runtimes: RuntimeChoice | None = None
    stages: tuple[StageTime, ...] = ()


class ParetoPoint(Record):
    """One executed artifact among those of its target.

    Attributes:
        attempt: The index of the attempt, None for the float file.
        on_front: Whether no other is at least as good in size, time and accuracy, and better in one.
        missing: The figures it lacks; it is compared by the others.
    """

    name: str
    attempt: int | None
    size_bytes: int
    cpu_ratio: float | None
    drop: float | None
    on_front: bool
    missing: tuple[str, ...] = ()


class TargetReport(Record):
    """One target: the ladder as it was walked.

    Attributes:
        shipped: The index of the attempt that was placed in the folder.
        nearest: The index of the refused attempt that missed its limits by the least.
        explored: Whether every recipe was tried; the best of the accepted ones is then shipped.
        points: All executed artifacts, and which of them are on the Pareto front.
    """

    target: str
    isa: str
    runtime: str
    accepted: bool
    attempts: tuple[Attempt, ...]
    plan: Plan
    shipped: int | None = None
    nearest: int | None = None
    explored: bool = False
    points: tuple[ParetoPoint, ...] = ()
    baseline: Artifact | None = None
    folder: str | None = None
    summary: str = ""

    def __post_init__(self) -> None:
        if self.accepted != (self.shipped is not None):
            raise ValueError(f"accepted is {self.accepted} but shipped is {self.shipped}")
        if self.shipped is not None and not 0 <= self.shipped < len(self.attempts):
            raise ValueError(f"shipped is {self.shipped}; there are {len(self.attempts)} attempts")

    @property
    def chosen(self) -> Attempt | None:
        """The attempt that is shipped, None where there is none."""
        return None if self.shipped is None else self.attempts[self.shipped]


class Report(Record):
    """What `deploy` returns and `report.json` holds. `print(report)` shows the table, one line per target.

    Attributes:
        layers: What multiplies and adds in the float model, in the order of the program.
    """

    schema_version: int
    edgekit_version: str
    task: str
    created: str
    machine: dict[str, str]
    float_metric: float
    samples: int
    parameters: int
    targets: tuple[TargetReport, ...]
    budget: Budget | None = None
    stages: tuple[StageTime, ...] = ()
    doubts: tuple[str, ...] = ()
    layers: tuple[LayerCost, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether every target has an accepted artifact."""
        return all(target.accepted for target in self.targets)

    def raise_for_budget(self) -> None:
        """Raises an error where a target was refused.

        Raises:
            BudgetError: A target has no accepted artifact; the error names every such target, with the reasons.
        """
        failed = [f"{t.target}: {t.summary}" for t in self.targets if not t.accepted]
        if failed:
            raise BudgetError("no artifact meets the budget for " + "; ".join(failed))

    def __str__(self) -> str:
        return "\n".join(f"{t.target}: {t.summary}" for t in self.targets)
