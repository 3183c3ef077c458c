"""The table as Markdown, for a pull request or a log."""

import re

from edgekit.records import Report
from edgekit.report import text as words
from edgekit.report import tried
from edgekit.report.table import HEADINGS, Row, notes, refusals, rows


def text(report: Report) -> str:
    """Renders a heading, the table, refused recipes and footnotes."""
    table = rows(report)
    float_metric = f"Float metric {words.metric(report.float_metric)}, n={report.samples}."
    parts = [
        f"## {_escaped(report.task)}",
        float_metric,
        _table(table) if table else "No target was asked for.",
    ]
    everything = tried.tried(report)
    if everything:
        drawn = [_line(list(tried.HEADINGS.values())), _line(["---"] * len(tried.HEADINGS))]
        drawn += [_line([_escaped(cell) for cell in row.cells]) for row in everything]
        parts.append(f"Every recipe:\n\n{chr(10).join(drawn)}\n\n{tried.LEGEND}")
    said = [f"{item.target}, {', '.join(item.recipes)}: {item.why}" for item in refusals(report)]
    refused = [f"- {_escaped(line)}" for line in said]
    if refused:
        parts.append("Refused recipes:\n\n" + "\n".join(refused))
    below = [f"- {_escaped(note)}" for note in notes(report, table)]
    if below:
        parts.append("Notes:\n\n" + "\n".join(below))
    return "\n\n".join(parts) + "\n"


def _table(lines: tuple[Row, ...]) -> str:
    names = ["target", "verdict", "recipe", "size", "metric", "agreement", "latency", "peak_memory", "why"]
    drawn = [_line([HEADINGS[name] for name in names]), _line(["---"] * len(names))]
    return "\n".join([*drawn, *(_line(_row(line)) for line in lines)])


def _row(line: Row) -> list[str]:
    recipe = f"{line.recipe.figure}, {line.precision}"
    figures = [f"{cell.figure} {cell.note}".rstrip() for _, cell in line.cells]
    return [_escaped(cell) for cell in (line.target, line.verdict, recipe, *figures, line.why)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(value: str) -> str:
    """Escapes text so that Markdown prints it as it is: no markup, no HTML, no new line."""
    flat = " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", flat)
