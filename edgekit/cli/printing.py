"""How the command line shows what a verb found: tables and JSON on stdout, progress on stderr."""

from pathlib import Path
from typing import Any

import click
import msgspec


def say(line: str) -> None:
    """Prints a line on stderr."""
    click.echo(line, err=True)


def show(report: Any, out: Path, as_json: bool) -> None:
    """Prints a report as JSON or as a table. Raises BudgetError where a target has no artifact within its budget."""
    if as_json:
        print_json(report)
    else:
        print_table(report)
        click.echo(f"\n{out / 'report.html'}")
    report.raise_for_budget()


def say_timings(report: Any) -> None:
    """Prints on stderr where the time of a run went."""
    from edgekit.report import timings

    for line in timings.lines(report):
        say(line)


def print_table(report: Any) -> None:
    """Prints the table of a report, in colour on a terminal."""
    from rich.console import Console

    from edgekit.report import terminal

    console = Console()
    if console.is_terminal:
        console.print(terminal.render(report))
    else:
        click.echo(terminal.text(report, width=120))


def print_json(value: Any) -> None:
    """Prints a record as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def budget_text(budget: Any) -> str:
    """Every limit of a budget, in words."""
    from edgekit.report import text

    return ", ".join(text.budget(budget))
