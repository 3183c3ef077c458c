"""The table on a terminal, readable at 100 columns."""

import io
import re

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgekit.records import Report
from edgekit.report import text as words
from edgekit.report import tried
from edgekit.report.cells import Cell
from edgekit.report.table import HEADINGS, Row, notes, refusals, rows

_STYLES = {"measured": "", "elsewhere": "dim", "missing": "dim"}
_VERDICTS = {"accepted": "bold green", "refused": "bold red"}


def render(report: Report) -> RenderableType:
    """Lays out the headline, the table, why each target is as it is, refused recipes and footnotes."""
    table = rows(report)
    parts: list[RenderableType] = [_headline(report)]
    if table:
        parts += [_table(table), *(_why(line) for line in table)]
    else:
        parts.append(Text("no target was asked for"))
    everything = tried.tried(report)
    if everything:
        parts += [Text(""), _tried(everything), Text(tried.LEGEND, style="dim")]
    refused = [
        Text(f"refused  {item.target}  {', '.join(item.recipes)}: {item.why}") for item in refusals(report)
    ]
    below = [Text(note, style="dim") for note in notes(report, table)]
    for section in (refused, below):
        if section:
            parts += [Text(""), *section]
    return Group(*parts)


def text(report: Report, width: int = 100) -> str:
    """Renders the same without colour, for logs and for `print(report)`."""
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(render(report))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _headline(report: Report) -> Text:
    accepted = sum(target.accepted for target in report.targets)
    line = Text.assemble(
        (report.task, "bold"), f": {accepted} of {words.count(len(report.targets), 'target')} accepted"
    )
    line.append(f"; float metric {words.metric(report.float_metric)}, n={report.samples}")
    if report.budget is not None:
        line.append(f"; budget: {', '.join(words.budget(report.budget))}")
    return line


def _table(lines: tuple[Row, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_lines=True)
    for name in ("target", "recipe", "size", "metric", "agreement", "latency", "peak_memory"):
        table.add_column(HEADINGS[name], overflow="fold", vertical="top")
    for line in lines:
        table.add_row(
            Text(line.target, style="bold").append(f"\n{line.verdict}", style=_VERDICTS[line.verdict]),
            Text(f"{line.recipe.figure}\n{line.precision}"),
            *(_cell(cell) for _, cell in line.cells),
        )
    return table


def _tried(lines: tuple[tried.Tried, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for heading in tried.HEADINGS.values():
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line.cells), style="bold" if line.verdict == "shipped" else "")
    return table


def _cell(cell: Cell) -> Text:
    drawn = Text(cell.figure, style=_STYLES[cell.state])
    for part in re.split(r", (?![^\[]*\])", cell.note) if cell.note else ():
        drawn.append(f"\n{part}", style="dim")
    return drawn


def _why(line: Row) -> Text:
    mark = (f"{line.verdict:<8} ", _VERDICTS[line.verdict])
    return Text.assemble(mark, (line.target, "bold"), f": {line.why}")
