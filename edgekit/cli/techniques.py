"""`edgekit techniques`: what a recipe can be made of, and the options of each technique with their ranges.

The list is read from the source of the modules, so that it costs no import. The options of one technique are those of its
`Options` record: to read them the module is imported, and torch with it, which takes seconds.
"""

import ast
import difflib
import importlib
import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from edgekit.cli.options import json_option
from edgekit.cli.printing import print_json, put
from edgekit.errors import UserError
from edgekit.records import Record
from edgekit.records._options import Option, options_of
from edgekit.technique import TECHNIQUES

PACKAGE = "edgekit.techniques"


class Summary(Record):
    """One line of the list."""

    name: str
    summary: str


class Description(Record):
    """What `edgekit techniques NAME` says: the text at the head of the module, and the options."""

    name: str
    text: str
    options: tuple[Option, ...]


@click.command()
@click.argument("name", required=False)
@json_option
def techniques(name: str | None, as_json: bool) -> None:
    """List the techniques, or describe one with its options and their ranges."""
    found = summaries() if name is None else described(name)
    if as_json:
        print_json(found)
        return
    for line in _page(found) if isinstance(found, Description) else _list(found):
        put(line)


def summaries() -> tuple[Summary, ...]:
    """Lists every technique with the first sentence of its module."""
    return tuple(Summary(name=name, summary=_first_sentence(_text(name))) for name in sorted(TECHNIQUES))


def described(name: str) -> Description:
    """Describes one technique. Raises UserError for a name that is not one."""
    known = sorted(TECHNIQUES)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"unknown technique {name!r}; {hint}allowed: {', '.join(known)}")
    with _quiet():
        module = importlib.import_module(f"{PACKAGE}.{name}")
    return Description(name=name, text=_text(name), options=options_of(module.Options))


def _text(name: str) -> str:
    """The docstring of a module that is not imported."""
    package = importlib.util.find_spec(PACKAGE)
    assert package is not None and package.submodule_search_locations
    source = (Path(package.submodule_search_locations[0]) / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the warnings that libraries log when they are imported."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _list(rows: tuple[Summary, ...]) -> Iterator[str]:
    width = max(len(row.name) for row in rows)
    for row in rows:
        yield f"{row.name:<{width}}  {row.summary}"


def _page(found: Description) -> Iterator[str]:
    yield f"{found.name}: {found.text}"
    yield ""
    if not found.options:
        yield "It has no options."
        return
    yield "Options:"
    cells = [(o.name, o.type, msgspec.json.encode(o.default).decode(), o.allowed) for o in found.options]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    for (*left, allowed), option in zip(cells, found.options, strict=True):
        columns = "  ".join(f"{cell:<{width}}" for cell, width in zip(left, widths, strict=True))
        yield f"  {columns}  {allowed}"
        yield f"  {'':<{widths[0]}}  {option.description}"
