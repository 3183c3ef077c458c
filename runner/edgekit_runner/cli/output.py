"""What a verb hands to the shell: a record as JSON, text or CSV on stdout, progress and errors on stderr."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit_runner import record as records
from edgekit_runner.errors import UserError

if TYPE_CHECKING:
    from edgekit_runner.cli.sweep import Combination
    from edgekit_runner.record import AnyRecord


def show(record: dict[str, Any], as_json: bool) -> int:
    """Prints one record and returns its exit code."""
    from edgekit_runner.cli import table

    if record["status"] != "ok":
        print(f"error: {record['reason']}", file=sys.stderr)
    print(records.to_line(record) if as_json else table.render(record))
    return records.exit_code(record)


def show_all(
    combinations: "Sequence[Combination]", found: "Iterator[AnyRecord]", as_json: bool, as_csv: bool
) -> int:
    """Prints the records of a sweep.

    Args:
        combinations: What the records are of, in the same order.
        found: The records; JSON goes out as soon as one is there, so an interrupted sweep keeps what it has.
        as_json: Whether to print a line of JSON each.
        as_csv: Whether to print CSV.

    Returns:
        The worst exit code.
    """
    from edgekit_runner.cli import sweep

    done = []
    for one, record in zip(combinations, found, strict=True):
        done.append(record)
        if record["status"] != "ok":
            print(f"error: {one.label}{record['reason']}", file=sys.stderr)
        if as_json:
            print(records.to_line(record), flush=True)
    if as_csv:
        print_csv(done)
    elif not as_json:
        print(sweep.render(combinations, done))
    return max(map(records.exit_code, done))


def print_csv(found: "list[AnyRecord]") -> None:
    """Prints a header and a row for each record."""
    from edgekit_runner.cli import csv_rows

    print(csv_rows.render(found))


def progress() -> Callable[[str], None]:
    """Progress on stderr for a person at a terminal."""

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            print(text, file=sys.stderr)

    return tell


def writable(path: str) -> Path:
    """The path of a file to write later; what can be wrong with it is said before minutes of measuring.

    Raises:
        UserError: It cannot be written.
    """
    file = Path(path)
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UserError(f"{path} cannot be written; give a file in a folder that exists.")
    return file
