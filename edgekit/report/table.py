"""One row per target: what a person reads in ten seconds. Pure functions from `Report` to words.

Nothing is invented: a figure that is None prints as "not measured" with the reason, one that comes from
a machine the target does not admit says so in the same cell, and a figure that its own record doubts
carries a star whose text follows the table.
"""

from collections.abc import Iterator
from typing import Literal

from edgekit.records import Attempt, Record, Report, TargetReport
from edgekit.report import text
from edgekit.report.cells import Cell, agreement_cell, latency_cell, memory_cell, metric_cell, size_cell


class Row(Record, frozen=True):
    """One target of the table.

    Attributes:
        target: Its name.
        verdict: Whether an artifact was accepted for it.
        precision: What the file is.
        recipe: How it was made.
        size: Its size.
        metric: Its metric.
        agreement: The share of samples with the float model's top-1.
        latency: Its CPU time relative to float.
        peak_memory: Its peak memory.
        why: Why the target is as it is.
    """

    target: str
    verdict: Literal["accepted", "refused"]
    precision: str
    recipe: Cell
    size: Cell
    metric: Cell
    agreement: Cell
    latency: Cell
    peak_memory: Cell
    why: str

    @property
    def cells(self) -> tuple[tuple[str, Cell], ...]:
        """The figures by the heading of their column, in the order of the table."""
        names = ("size", "metric", "agreement", "latency", "peak_memory")
        return tuple((HEADINGS[name], getattr(self, name)) for name in names)


class Refusal(Record, frozen=True):
    """Recipes of one target that were refused for the same reason."""

    target: str
    recipes: tuple[str, ...]
    why: str


HEADINGS = {
    "target": "Target",
    "verdict": "Verdict",
    "recipe": "Recipe",
    "size": "Size",
    "metric": "Metric",
    "agreement": "Agreement",
    "latency": "CPU time / float",
    "peak_memory": "Peak memory",
    "why": "Why",
}
UNSAID = "no reason was recorded"


def rows(report: Report) -> tuple[Row, ...]:
    """One row per target, in the report's order."""
    return tuple(row(target, report) for target in report.targets)


def row(target: TargetReport, report: Report) -> Row:
    """The accepted attempt of `target`, or the refused one that got furthest."""
    attempt = shown(target)
    return Row(
        target=target.target,
        verdict="accepted" if target.accepted else "refused",
        precision=_precision(attempt),
        recipe=_recipe(attempt),
        size=size_cell(attempt.artifact if attempt else None, target.baseline, _stopped(attempt)),
        metric=metric_cell(attempt.verdict if attempt else None, _stopped(attempt)),
        agreement=agreement_cell(attempt.verdict if attempt else None, _stopped(attempt)),
        latency=latency_cell(attempt.measurement if attempt else None, _unmeasured(attempt)),
        peak_memory=memory_cell(attempt.measurement if attempt else None, _unmeasured(attempt)),
        why=_why_row(target, attempt),
    )


def _precision(attempt: Attempt | None) -> str:
    """What the file is; its recipe's precision where the file was not examined."""
    if attempt is None:
        return "none"
    called = attempt.verdict.lint.called if attempt.verdict is not None else ""
    return called or attempt.recipe.precision


def shown(target: TargetReport) -> Attempt | None:
    """The attempt that represents a target: the shipped one, else the one that came nearest, the last executed, the last."""
    if target.chosen is not None:
        return target.chosen
    if target.nearest is not None:
        return target.attempts[target.nearest]
    executed = [attempt for attempt in target.attempts if attempt.verdict is not None]
    return next(reversed(executed or target.attempts), None)


def refusals(report: Report) -> tuple[Refusal, ...]:
    """Why recipes were refused, each sentence once a target; what the row of a refused target says is left out."""
    return tuple(refusal for target in report.targets for refusal in _refusals(target))


def _refusals(target: TargetReport) -> Iterator[Refusal]:
    told = None if target.accepted else said(shown(target))
    recipes: dict[str, list[str]] = {}
    for attempt in target.attempts:
        if not attempt.decision.accepted and said(attempt) != told:
            for sentence in said(attempt) or (UNSAID,):
                recipes.setdefault(sentence, []).append(attempt.recipe.name)
    together: dict[tuple[str, ...], list[str]] = {}
    for sentence, names in recipes.items():
        together.setdefault(tuple(names), []).append(sentence)
    for alike, sentences in together.items():
        yield Refusal(target=target.target, recipes=alike, why="; ".join(sentences))


def said(attempt: Attempt | None) -> tuple[str, ...]:
    """The gate's reasons, and the error of a failed stage unless they contain it already."""
    if attempt is None:
        return ()
    reasons = attempt.decision.reasons
    known = not attempt.error or any(attempt.error in reason for reason in reasons)
    return reasons if known else (*reasons, str(attempt.error))


def why(attempt: Attempt) -> str:
    """All that an attempt was accepted or refused for, and which runtime is fastest."""
    fastest = () if attempt.runtimes is None else (attempt.runtimes.reason,)
    return "; ".join((*said(attempt), *fastest)) or UNSAID


def footnotes(table: tuple[Row, ...]) -> tuple[str, ...]:
    """What the cells had no room for: the reasons of missing figures, then the doubts behind the stars, each once.

    What the row says itself is no footnote.
    """
    missing: dict[tuple[str, str], list[str]] = {}
    doubted: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for line in table:
        for heading, cell in (("Recipe", line.recipe), *line.cells):
            if cell.reason and cell.reason not in line.why:
                missing.setdefault((line.target, cell.reason), []).append(heading)
            for doubt in cell.doubts:
                targets, headings = doubted.setdefault(doubt, ({}, {}))
                targets[line.target] = headings[heading] = None
    reasons = [
        f"{target}: {' and '.join(names)} not measured: {why}" for (target, why), names in missing.items()
    ]
    doubts = [
        f"* {', '.join(targets)}: {' and '.join(headings)}: {doubt}"
        for doubt, (targets, headings) in doubted.items()
    ]
    return (*reasons, *doubts)


def notes(report: Report, table: tuple[Row, ...]) -> tuple[str, ...]:
    """The footnotes of the table, what was doubted of recipes that were refused, and what of the task."""
    doubted: dict[str, dict[str, list[str]]] = {}
    for target in report.targets:
        own = shown(target)
        for attempt in target.attempts:
            if attempt is own or attempt.decision.accepted or attempt.candidate is None:
                continue
            for doubt in attempt.candidate.doubts:
                if own is None or own.candidate is None or doubt not in own.candidate.doubts:
                    doubted.setdefault(doubt, {}).setdefault(target.target, []).append(attempt.recipe.name)
    refused = [
        f"* {target}: {', '.join(recipes)}: {doubt}"
        for doubt, places in doubted.items()
        for target, recipes in places.items()
    ]
    return (*footnotes(table), *refused, *(f"* {doubt}" for doubt in report.doubts))


def _recipe(attempt: Attempt | None) -> Cell:
    if attempt is None:
        return Cell(value="none", state="missing")
    doubts = attempt.candidate.doubts if attempt.candidate else ()
    return Cell(value=attempt.recipe.name, doubts=doubts)


def _stopped(attempt: Attempt | None) -> str:
    """Why an attempt has no artifact or verdict."""
    if attempt is None:
        return "no recipe was tried"
    return attempt.error or "; ".join(attempt.decision.not_measured) or "the stage did not run"


def _unmeasured(attempt: Attempt | None) -> str:
    """Why an attempt has no measurement; the gate's own words come first."""
    if attempt is None:
        return "no recipe was tried"
    return "; ".join(attempt.decision.not_measured) or attempt.error or "the runner was not asked"


def _why_row(target: TargetReport, attempt: Attempt | None) -> str:
    if attempt is None:
        skipped = "; ".join(f"{item.technique}: {item.reason}" for item in target.plan.skipped)
        return target.summary or f"no recipe was tried{f' ({skipped})' if skipped else ''}"
    if target.accepted or len(target.attempts) == 1:
        return why(attempt)
    alike = [each.recipe.name for each in target.attempts if said(each) == said(attempt)]
    return f"all {text.count(len(target.attempts), 'recipe')} refused; {', '.join(alike)}: {why(attempt)}"
