"""What an export says of each layer, and which recipe would win something: from what was measured or noted, nothing is run.

Work and stored numbers are those of the float model. Time and noise are those that the mixed recipe measured of each layer; where
it was not tried there are none, and the explanation says what measures them.
"""

import math
from collections.abc import Iterator, Sequence

from edgekit.errors import UserError
from edgekit.records import Attempt, LayerCost, LayerDegradation, ParetoPoint, Record, Report, TargetReport
from edgekit.report import text
from edgekit.report.table import shown

MIN_WIN = 0.02  # of time or size: less is not told apart from noise
LOUD = 0.25  # of all noise: one layer with this much may be worth its float
LOUD_FOR_WORK = 2.0  # times its share of the work
EXPLORE = "edgekit export ... --explore"


class LayerRow(Record):
    """One layer.

    Attributes:
        work: Its share of the multiply-accumulates.
        stored: Its share of the stored numbers.
        time: Its share of the time of all layers, as the file runs them.
        noise: Its share of the noise of all layers in integers.
        snr_db: What the outputs keep where it alone is in integers.
        is_float: Whether the file computes it in float; None where that is not known.
    """

    name: str
    origin: str
    work: float
    stored: float
    time: float | None = None
    int8_s: float | None = None
    float_s: float | None = None
    noise: float | None = None
    snr_db: float | None = None
    is_float: bool | None = None


class Explanation(Record):
    """One target.

    Attributes:
        recipe: The recipe that is explained: the shipped one, or the nearest.
        measured_by: The recipe that measured time and noise, "" where none did.
        layers: In the order of the program.
        wins: What would win something, in words: measured first, then predicted, then not tried.
        missing: What was not measured, and what measures it.
    """

    target: str
    recipe: str
    accepted: bool
    measured_by: str
    layers: tuple[LayerRow, ...]
    wins: tuple[str, ...]
    missing: tuple[str, ...]


def explanations(report: Report, names: Sequence[str] = ()) -> tuple[Explanation, ...]:
    """Explains the targets of an export, or those of these names.

    Raises:
        UserError: There is no target of a name.
    """
    known = [target.target for target in report.targets]
    for name in names:
        if name not in known:
            raise UserError(f"the export has no target {name!r}; it has {', '.join(known)}")
    return tuple(explanation(t, report) for t in report.targets if not names or t.target in names)


def explanation(target: TargetReport, report: Report) -> Explanation:
    """Explains one target."""
    attempt = shown(target)
    source = measured(target)
    costs = source.candidate.layers if source is not None and source.candidate is not None else report.layers
    return Explanation(
        target=target.target,
        recipe=attempt.recipe.name if attempt else "none",
        accepted=target.accepted,
        measured_by=source.recipe.name if source else "",
        layers=layer_rows(costs, attempt),
        wins=(*_measured_wins(target, attempt), *_predicted_wins(costs, attempt), *_untried(target)),
        missing=tuple(_missing(target, attempt, costs)),
    )


def measured(target: TargetReport) -> Attempt | None:
    """The attempt that measured each layer: the one that is shown, or another."""
    first = shown(target)
    for attempt in (*((first,) if first else ()), *target.attempts):
        if attempt.candidate is not None and attempt.candidate.layers:
            return attempt
    return None


def layer_rows(costs: Sequence[LayerCost], attempt: Attempt | None) -> tuple[LayerRow, ...]:
    """Turns costs into shares; the time is that of the arithmetic which the attempt runs each layer in."""
    made = attempt.candidate if attempt is not None else None
    floats = {layer.origin for layer in made.float_layers} if made is not None else set()
    integers = attempt is not None and attempt.recipe.precision == "int8" and made is not None
    seconds = {
        cost.name: cost.float_s if cost.origin in floats or not integers else cost.int8_s for cost in costs
    }
    total = sum(second for second in seconds.values() if second is not None)
    work, stored = sum(cost.macs for cost in costs) or 1, sum(cost.weights for cost in costs) or 1
    noise = sum(cost.noise_ratio or 0.0 for cost in costs) or 1.0
    return tuple(
        LayerRow(
            name=cost.name,
            origin=cost.origin,
            work=cost.macs / work,
            stored=cost.weights / stored,
            time=None if (second := seconds[cost.name]) is None or not total else second / total,
            int8_s=cost.int8_s,
            float_s=cost.float_s,
            noise=None if cost.noise_ratio is None else cost.noise_ratio / noise,
            snr_db=-10 * math.log10(cost.noise_ratio) if cost.noise_ratio else None,
            is_float=cost.origin in floats if integers else None,
        )
        for cost in costs
    )


def _measured_wins(target: TargetReport, attempt: Attempt | None) -> Iterator[str]:
    """What other artifacts of the run, accepted or refused, have over the one that is shown."""
    if attempt is None:
        return
    own = next(
        (p for p in target.points if p.attempt is not None and target.attempts[p.attempt] is attempt), None
    )
    for other in target.points:
        if own is None or other is own:
            continue
        better, worse = _compared(own, other)
        if better:
            cost = f"; it costs {' and '.join(worse)}" if worse else ""
            yield f"{other.name} would win {' and '.join(better)}{cost}; {_standing(target, other)}"


def _compared(own: ParetoPoint, other: ParetoPoint) -> tuple[list[str], list[str]]:
    """What `other` is better in, and what it is worse in."""
    better: list[str] = []
    worse: list[str] = []
    for what, mine, its in (
        ("size", own.size_bytes, other.size_bytes),
        ("CPU time", own.cpu_ratio, other.cpu_ratio),
    ):
        if mine and its is not None and abs(its / mine - 1) > MIN_WIN:
            (better if its < mine else worse).append(f"{abs(its / mine - 1):.0%} of the {what}")
    if own.drop is not None and other.drop is not None and own.drop != other.drop:
        side = better if other.drop < own.drop else worse
        side.append(f"{abs(other.drop - own.drop):.4f} of the metric")
    return better, worse


def _standing(target: TargetReport, point: ParetoPoint) -> str:
    if point.attempt is None:
        return "it is the float file"
    decision = target.attempts[point.attempt].decision
    return "accepted, but not the best" if decision.accepted else f"refused: {'; '.join(decision.reasons)}"


def _predicted_wins(costs: Sequence[LayerCost], attempt: Attempt | None) -> Iterator[str]:
    """What layers that were measured one by one would gain in float."""
    rows = [row for row in layer_rows(costs, attempt) if row.is_float is False]
    slower = [r for r in rows if r.int8_s is not None and r.float_s is not None and r.float_s < r.int8_s]
    whole_s = sum(row.int8_s or 0.0 for row in rows)
    gain_s = sum((row.int8_s or 0.0) - (row.float_s or 0.0) for row in slower)
    if whole_s and gain_s > MIN_WIN * whole_s:
        names = ",".join(row.origin.partition(" (")[0] for row in slower)
        yield (
            f"predicted: {text.count(len(slower), 'layer')} slower in integers than in float, {gain_s / whole_s:.0%} of the layers' "
            f"time without the conversions at their borders: ptq(skip='{names}')"
        )
    for row in rows:
        if row.noise is not None and row.noise > max(LOUD, LOUD_FOR_WORK * row.work):
            name = row.origin.partition(" (")[0]
            yield (
                f"predicted: {row.origin} makes {row.noise:.0%} of the noise of integers with {row.work:.1%} of the work: "
                f"ptq(skip='{name}') leaves it in float"
            )


def _untried(target: TargetReport) -> Iterator[str]:
    tried = {attempt.recipe.name for attempt in target.attempts}
    left = {item.technique for item in target.plan.skipped}
    names = [r.name for r in target.plan.recipes if r.name not in tried and r.name not in left]
    if names:
        yield f"not tried, so not known: {', '.join(names)}; {EXPLORE} tries every recipe"


def _missing(target: TargetReport, attempt: Attempt | None, costs: Sequence[LayerCost]) -> Iterator[str]:
    if not costs:
        yield "layers: the program was not counted (an older edgekit, or a SavedModel); export again"
        return
    if all(cost.int8_s is None for cost in costs):
        yield f"time of each layer: not measured; {EXPLORE} measures it for the mixed recipe, where {_where(target)}"
    if all(cost.noise_ratio is None for cost in costs):
        yield f"noise of each layer: not measured; {EXPLORE}, or --recipe mixed, measures it on calibration inputs"
        yield from (f"  by layer blame instead: {_blamed(row)}" for row in _loudest(target))
    if attempt is not None and (attempt.measurement is None or attempt.measurement.cpu_ratio is None):
        why = (
            attempt.measurement.reason
            if attempt.measurement is not None
            else "the attempt did not get so far"
        )
        yield f"time of the file: {why}; edgekit bench {target.folder or 'DIR'} --device ssh:user@host measures it"
    if attempt is not None and attempt.verdict is not None and attempt.verdict.flips is None:
        yield "interval of the drop: the metric is no share of right answers, so that only its value is known"


def _where(target: TargetReport) -> str:
    return (
        "this machine is one of the target's"
        if target.runtime == "onnxruntime"
        else f"the runtime tells times of single layers; {target.runtime} does not"
    )


def _loudest(target: TargetReport) -> Sequence[LayerDegradation]:
    """The three layers that layer blame found to lose most by themselves, where it was asked."""
    rows = [row for attempt in target.attempts if attempt.blame for row in attempt.blame.compression]
    known = [row for row in rows if row.local_snr_db is not None]
    return sorted(known, key=lambda row: row.local_snr_db or 0.0)[:3]


def _blamed(row: LayerDegradation) -> str:
    return f"{row.module or row.node} keeps {row.local_snr_db:.1f} dB by itself"
