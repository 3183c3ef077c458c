"""How the command line shows what a verb found: tables and JSON on stdout, progress on stderr."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import msgspec

from edgekit.errors import UserError
from edgekit.records import convert
from edgekit.records.foreign import visible, visible_data


def any_terminal() -> None:
    """Lets stdout and stderr take every text: what an old code page lacks (latin-1, cp1252) becomes a question mark.

    A stream that was closed (`>&-`) leads nowhere: the next file that is opened would else take its number, and what a library
    prints.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            with suppress(OSError, ValueError):
                stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")


@contextmanager
def whole_output() -> Iterator[None]:
    """Makes sure that what a verb printed has arrived.

    Raises:
        UserError: There is no room where stdout goes.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        with suppress(OSError, ValueError):
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
            )  # what is left cannot be written at exit either
        raise UserError(
            f"the output cannot be written: {error.strerror}; free some space, or send it elsewhere"
        ) from error


def put(text: str, nl: bool = True) -> None:
    """Prints a text on stdout; control characters of strangers in it are shown, not obeyed."""
    click.echo(visible(text), nl=nl)


def say(line: str) -> None:
    """Prints a line on stderr, as `put` does."""
    click.echo(visible(line), err=True)


def show(report: Any, out: Path, as_json: bool) -> None:
    """Prints a report as JSON or as a table. Raises BudgetError where a target has no artifact within its budget."""
    if as_json:
        print_json(report)
    else:
        print_table(report)
        put(f"\n{out / 'report.html'}")
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
        shown = convert(visible_data(msgspec.to_builtins(report)), type(report))
        console.print(terminal.render(shown))
    else:
        put(terminal.text(report, width=120))


def put_columns(lines: Sequence[Sequence[str]]) -> None:
    """Prints rows of cells in columns as wide as their widest cell; the last one is not filled up."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        put("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_json(value: Any) -> None:
    """Prints a record as indented JSON."""
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:  # the name of a file that is no text
        data = msgspec.json.encode(visible_data(msgspec.to_builtins(value)))
    put(msgspec.json.format(data, indent=2).decode())


def budget_text(budget: Any) -> str:
    """Every limit of a budget, in words."""
    from edgekit.report import text

    return ", ".join(text.budget(budget))
