"""`turns`: many artifacts in one fresh process, in turns: what each costs beside the others.

For tables, as of a layer at every width: what matters is which is cheaper and by how much, so all meet the same
disturbance, and whatever disturbs only adds (see `_round_robin`). CPU seconds per run: the minimum is the figure, the
lower decile and the median tell how noisy the rounds were. Nothing is proven or weighed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NotRequired, TextIO, TypedDict

from edgekit_runner.artifact import ArtifactSection
from edgekit_runner.errors import UserError
from edgekit_runner.protocol import Timed
from edgekit_runner.record import Head, RuntimeSection
from edgekit_runner.stats import quantiles
from edgekit_runner.stats.validity import ValiditySection, judge
from edgekit_runner.value_rules import Count, Rule

MOST_COUNT = 512
_ALONE = "the spec key 'others' is for kind 'turns' alone."


@dataclass(frozen=True, kw_only=True)
class Spec(Timed):
    """The time is for all rounds together.

    Attributes:
        others: The artifacts beside the first one.
        rounds_count: In how many rounds each artifact runs.
    """

    kind: ClassVar[str] = "turns"
    stated: ClassVar[tuple[str, ...]] = ("protocol", "rounds_count", "max_duration_s")

    others: Annotated[Sequence[str], Rule("texts", refusal=_ALONE)] = ()
    rounds_count: Count = 48


class Turn(TypedDict):
    """One artifact; its figures are there when all rounds are over."""

    path: str
    sha256: str
    cpu_min_s: NotRequired[float]
    cpu_p10_s: NotRequired[float]
    cpu_p50_s: NotRequired[float]
    rounds_count: NotRequired[int]
    runs_per_turn_count: NotRequired[int]


class Record(Head):
    """A figure for each artifact, in the order given; `artifact` and `runtime` are of the first."""

    artifact: ArtifactSection | None
    runtime: RuntimeSection | None
    validity: ValiditySection | None
    turns: list[Turn] | None


def work(spec: Spec, record: Record, parent: TextIO) -> None:
    """Fills the record.

    Args:
        spec: What the worker was asked for.
        record: A blank record of this kind.
        parent: Not used.

    Raises:
        RunnerError: An artifact does not run, or there are too many.
    """
    from edgekit_runner.kinds import _phases, _round_robin
    from edgekit_runner.stats.window import Window

    paths = (spec.artifact, *spec.others)
    if len(paths) > MOST_COUNT:
        raise UserError(f"{len(paths)} artifacts are given; allowed: at most {MOST_COUNT} in one job.")
    _phases.begin(spec, record)
    _phases.bind(spec)
    sessions = [_ready(path, spec, record) for path in paths]
    counts = [_round_robin.turn_length(session) for session in sessions]
    window = Window()
    window.begin()
    rounds = _round_robin.rounds(sessions, counts, spec.seed, spec.rounds_count, spec.max_duration_s)
    seen = window.end()
    record["turns"] = [
        {**turn, **_round_robin.figures([row[i] for row in rounds]), "runs_per_turn_count": counts[i]}
        for i, turn in enumerate(record["turns"] or ())
    ]
    record["validity"] = _judged(rounds, seen, spec.threads_count)


def _ready(path: str, spec: Spec, record: Record) -> Any:
    """Opens one; the first also tells the runtime."""
    from edgekit_runner.kinds import _round_robin

    session, described, runtime = _round_robin.ready(path, spec)
    before = record["turns"]
    if before is None:
        record["artifact"] = described.section()
        record["runtime"] = {**runtime, "placement": session.placement()}
    record["turns"] = [*(before or ()), {"path": path, "sha256": described.sha256}]
    return session


def _judged(rounds: list[list[float]], seen: dict[str, Any], threads_count: int) -> ValiditySection:
    """Drift is judged on rounds, all artifacts together."""
    totals = [sum(row) for row in rounds]
    third = max(1, len(totals) // 3)
    first, last = quantiles.median(totals[:third]), quantiles.median(totals[-third:])
    return judge(seen, threads_count, first, last, first, last).section()
