"""Two exported artifacts of one task, or one and the float model, sample by sample, from what their exports noted.

Nothing is run again: an export keeps which samples of the metric its artifact answers otherwise than the float model, and what
the metric makes of each. Two artifacts of the same float model and samples differ where these differ.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgekit.errors import UserError
from edgekit.records import Flip, Flips, Record, Report, TargetReport
from edgekit.report import load, text
from edgekit.report.table import shown
from edgekit.trace.paired import drop_interval, mcnemar_p

FLOAT = "float"  # in place of a folder: the float model of the other one
CHANCE = 0.05  # the p below which a difference is not put down to chance


class _Side(Record):
    """One of the two."""

    name: str
    metric: float
    samples: int
    flips: Flips | None


class DifferentAnswer(Record):
    """A sample with two classes.

    Attributes:
        sample: Its number, in the order in which the metric asks.
        right: Which of the two the metric counts right and not the other: "a", "b", "" for neither, None where that was not
            looked at.
    """

    sample: int
    a_class: int
    b_class: int
    right: str | None


class ModelComparison(Record):
    """What the samples of the metric tell of two models.

    Attributes:
        a: The name of the first.
        b: The name of the second.
        samples: How many samples the metric asks for.
        difference: The metric of a less that of b.
        low: The lower end of the 95 % interval of the difference; None where the answers were not noted.
        high: The upper end.
        only_a: How many samples a alone has right; at most, unless `exact`.
        only_b: The other way.
        p_value: McNemar's exact test of no difference.
        conclusion: In words.
        answers: The samples with two classes.
    """

    a: str
    b: str
    a_metric: float
    b_metric: float
    samples: int
    difference: float
    conclusion: str
    low: float | None = None
    high: float | None = None
    only_a: int = 0
    only_b: int = 0
    exact: bool = True
    p_value: float | None = None
    answers: tuple[DifferentAnswer, ...] = ()


def compare_models(a: str, b: str) -> ModelComparison:
    """Compares two exports of one target each, or one with the word "float".

    Raises:
        UserError: There is no report, it has several targets and none is named, nothing was proven, both are the float model,
            or the two are not of one float model and the same samples.
    """
    if a == b == FLOAT:
        raise UserError(f"both are {FLOAT!r}; give the folder of an export for one of them")
    first = None if a == FLOAT else _side(Path(a))
    second = None if b == FLOAT else _side(Path(b))
    return _compared(first or _float(Path(b)), second or _float(Path(a)))


def _read(place: Path) -> tuple[Report, TargetReport]:
    """Reads the export that `place` is, or is a target's folder of."""
    inside = not (place / load.NAME).is_file() and (place.parent / load.NAME).is_file()
    report = load.read(place.parent if inside else place)
    named = [target for target in report.targets if not inside or target.folder == place.name]
    if len(named) != 1:
        listed = ", ".join(str(place / str(target.folder)) for target in report.targets)
        raise UserError(f"{place} holds {len(named)} targets; give the folder of one: {listed or 'none'}")
    return report, named[0]


def _side(place: Path) -> _Side:
    _, target = _read(place)
    attempt = shown(target)
    if attempt is None or attempt.verdict is None:
        raise UserError(f"{place}: no artifact was proven: {target.summary}")
    verdict = attempt.verdict
    state = "" if attempt.decision.accepted else ", refused"
    name = f"{place} ({attempt.recipe.name}{state})"
    return _Side(name=name, metric=verdict.metric, samples=verdict.scored, flips=verdict.flips)


def _float(place: Path) -> _Side:
    """The float model of an export, which answers as it does itself."""
    report, _ = _read(place)
    own = _side(place)
    same = own.flips and msgspec.structs.replace(own.flips, flips=(), exact=True)
    return _Side(name="the float model", metric=report.float_metric, samples=own.samples, flips=same)


def _compared(a: _Side, b: _Side) -> ModelComparison:
    known: dict[str, Any] = {
        "a": a.name,
        "b": b.name,
        "a_metric": a.metric,
        "b_metric": b.metric,
        "samples": a.samples,
        "difference": a.metric - b.metric,
    }
    if a.flips is None or b.flips is None:
        missing = a.name if a.flips is None else b.name
        why = f"not told apart sample by sample: for {missing} the metric is no share of right answers, or an older edgekit exported it"
        return ModelComparison(**known, conclusion=why)
    if a.flips.reference != b.flips.reference:
        raise UserError(
            f"{a.name} and {b.name} are not of one float model and the same samples of the metric; export both from the same task"
        )
    return _paired(known, a, b, a.flips, b.flips)


def _paired(known: dict[str, Any], a: _Side, b: _Side, ours: Flips, theirs: Flips) -> ModelComparison:
    answers, unknown, net = tuple(_answers(ours, theirs)), 0, 0
    only = {"a": 0, "b": 0}
    for answer in answers:
        if answer.right is None:
            unknown += 1
        elif answer.right:
            only[answer.right] += 1
    if unknown:
        net = round((a.metric - b.metric) / ours.scale * ours.samples) - only["a"] + only["b"]
    only_a, only_b = only["a"] + (unknown + net) // 2, only["b"] + (unknown - net) // 2
    low, high = drop_interval(only_a, only_b, ours.samples)
    p_value = mcnemar_p(only_a, only_b)
    return ModelComparison(
        **known,
        low=low * ours.scale,
        high=high * ours.scale,
        only_a=only_a,
        only_b=only_b,
        exact=not unknown,
        p_value=p_value,
        answers=answers,
        conclusion=_conclusion(only_a, only_b, p_value),
    )


def _answers(ours: Flips, theirs: Flips) -> Iterator[DifferentAnswer]:
    a, b = ({flip.sample: flip for flip in side.flips} for side in (ours, theirs))
    for sample in sorted(a.keys() | b.keys()):
        float_class = (a.get(sample) or b[sample]).float_class
        same = Flip(sample=sample, float_class=float_class, artifact_class=float_class, gain=0)
        one, other = a.get(sample, same), b.get(sample, same)
        if one.artifact_class != other.artifact_class:
            yield DifferentAnswer(
                sample=sample,
                a_class=one.artifact_class,
                b_class=other.artifact_class,
                right=_right(one, other),
            )


def _right(a: Flip, b: Flip) -> str | None:
    if a.gain is None or b.gain is None:
        return None
    return "a" if a.gain > b.gain else "b" if b.gain > a.gain else ""


def _conclusion(only_a: int, only_b: int, p_value: float) -> str:
    if not only_a + only_b:
        return "the metric counts every sample of the two alike"
    if p_value >= CHANCE:
        return "chance explains the difference: these samples do not tell the two apart"
    return f"{'a' if only_a > only_b else 'b'} is better, and not by chance"


def lines(found: ModelComparison) -> Iterator[str]:
    """Says it in words."""
    yield f"a: {found.a}: metric {text.metric(found.a_metric)}, n={found.samples}"
    yield f"b: {found.b}: metric {text.metric(found.b_metric)}, n={found.samples}"
    change = f"a - b: {text.change(found.difference)}"
    if found.low is None or found.high is None or found.p_value is None:
        yield change
    else:
        yield f"{change} [{text.change(found.low)}, {text.change(found.high)}] (95 %, Tango), McNemar's exact p = {found.p_value:.3g}"
        most = "" if found.exact else ", at most: not all were looked at"
        yield f"right in a alone: {found.only_a}, in b alone: {found.only_b}{most}; another class: {len(found.answers)}"
    yield found.conclusion
    for answer in found.answers:
        right = {"a": "a is right", "b": "b is right", "": "the same to the metric", None: "not looked at"}
        yield f"  sample {answer.sample}: a {answer.a_class}, b {answer.b_class}; {right[answer.right]}"
