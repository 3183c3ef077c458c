"""Fills the templates: data files beside this one, in the syntax of the language they become."""

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).with_name("templates")


def fill(template: str, **values: Any) -> str:
    """Returns the text of templates/<template>.jinja with the values in place; one that is missing is an error."""
    return _environment().get_template(f"{template}.jinja").render(values)


@cache
def _environment() -> Any:
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    made.filters.update(
        text=json.dumps, swift=_swift, shell=shlex.quote, words=_words, f32=lambda v: f"{float(v)!r}f"
    )
    return made


def _swift(text: str) -> str:
    """A Swift literal: JSON's, except that Swift writes escaped code points in braces."""
    escaped = "".join(f"\\u{{{ord(c):x}}}" if ord(c) < 32 else c for c in text.replace("\\", "\\\\"))
    return '"' + escaped.replace('"', '\\"') + '"'


def _words(text: str) -> str:
    """For a comment: nothing that could end it, or that Java would read as another character."""
    return re.sub(r"[^\w .:+-]", "?", text)
