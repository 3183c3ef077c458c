"""What to do next, after a report: what would win something, then what nobody measured; a sentence for several targets is told once."""

from collections.abc import Iterable

from edgekit.records import Record, Report
from edgekit.report.explanation import explanations


class Advice(Record, frozen=True):
    """One sentence, and the targets that it is about."""

    targets: tuple[str, ...]
    words: str


class NextSteps(Record, frozen=True):
    """What would win, and what is not known."""

    wins: tuple[Advice, ...]
    missing: tuple[Advice, ...]


def next_steps(report: Report) -> NextSteps:
    """Collects the advice of all targets."""
    found = explanations(report)
    return NextSteps(
        wins=_together((each.target, words) for each in found for words in each.wins),
        missing=_together((each.target, words) for each in found for words in each.missing),
    )


def _together(pairs: Iterable[tuple[str, str]]) -> tuple[Advice, ...]:
    told: dict[str, list[str]] = {}
    for target, words in pairs:
        told.setdefault(words.strip(), []).append(target)
    return tuple(Advice(targets=tuple(targets), words=words) for words, targets in told.items())
