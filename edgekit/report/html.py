"""The report as one HTML file: no network, no script, readable on a phone, on paper and in dark mode."""

from collections.abc import Sequence
from pathlib import Path

import jinja2

from edgekit.records import Record, Report, TargetReport
from edgekit.report import details, text, timings, tried
from edgekit.report.details import Card
from edgekit.report.drawing import Plot
from edgekit.report.fact_groups import Group
from edgekit.report.files import write_whole
from edgekit.report.next_steps import NextSteps, next_steps
from edgekit.report.plot import plot
from edgekit.report.table import HEADINGS, Row, footnotes, rows

TEMPLATE = "report.html.jinja"


class _Target(Record, frozen=True):
    """One target's particulars, ready to print."""

    name: str
    accepted: bool
    intro: str
    folder: str | None
    budget: tuple[str, ...]
    plan: tuple[tuple[str, str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    cards: tuple[Card, ...]
    baseline: Group | None


class _Section(Record, frozen=True):
    """One report, ready to print."""

    task: str
    accepted: int
    lead: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    next: NextSteps
    tried: tuple[tried.Tried, ...]
    plot: Plot | None
    targets: tuple[_Target, ...]
    run: Group
    stages: Group
    timings: tuple[timings.Bar, ...]
    doubts: tuple[str, ...]


def write(reports: Report | Sequence[Report], path: Path) -> None:
    """Writes one page with a section for each report, whole or not at all.

    Raises:
        UserError: `path` cannot be written.
    """
    write_whole(path, page((reports,) if isinstance(reports, Report) else reports))


def page(reports: Sequence[Report]) -> str:
    """Renders the page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["zip"] = zip
    sections = [_section(report) for report in reports]
    return environment.get_template(TEMPLATE).render(
        sections=sections, headings=HEADINGS, tried_headings=tried.HEADINGS, legend=tried.LEGEND
    )


def _section(report: Report) -> _Section:
    table = rows(report)
    return _Section(
        task=report.task,
        accepted=sum(target.accepted for target in report.targets),
        lead=f"float metric {text.metric(report.float_metric)}, n={report.samples}",
        rows=table,
        notes=footnotes(table),
        next=next_steps(report),
        tried=tried.tried(report),
        plot=plot(report),
        targets=tuple(_target(target, report) for target in report.targets),
        run=details.run(report),
        stages=details.stages(report.stages),
        timings=timings.bars(report),
        doubts=report.doubts,
    )


def _target(target: TargetReport, report: Report) -> _Target:
    steps = [
        (recipe.name, recipe.precision, "; ".join(step.reason for step in recipe.steps if step.reason))
        for recipe in target.plan.recipes
    ]
    return _Target(
        name=target.target,
        accepted=target.accepted,
        intro=f"{target.runtime}, {target.isa}. {target.summary}".strip(),
        folder=target.folder,
        budget=text.budget(target.plan.budget),
        plan=tuple(steps),
        skipped=tuple((item.technique, item.reason) for item in target.plan.skipped),
        cards=tuple(details.card(attempt, target, report) for attempt in target.attempts),
        baseline=details.baseline(target.baseline) if target.baseline else None,
    )
