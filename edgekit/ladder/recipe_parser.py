"""Recipes as a user writes them: `prune(macs=0.4, criterion=taylor) > distill(images=60000) > qat`.

Steps are techniques in order, `>` between them, options in brackets as key=value; a value with a comma or a bracket in it goes in
quotes. The last step tells the precision. Such recipes take the place of a profile's ladder, in the order given. The name that a
plan or a report has for a rung of that ladder, `ptq(mse, gptq)`, stands for this rung.
"""

import difflib
import json
import re
from collections.abc import Iterable, Sequence

import msgspec

from edgekit.errors import UserError
from edgekit.records import Scalar
from edgekit.target import LadderStep, Rung, Target
from edgekit.technique import TECHNIQUES, check_chain

EXAMPLE = "prune(macs=0.5) > distill(images=20000) > qat"
ASKED = "asked for"
MOST_CHARACTERS = 2000

_STEP = re.compile(r"""\s*(\w+)\s*(?:\(((?:[^()'"]|'[^']*'|"[^"]*")*)\))?\s*(>|$)""")
_OPTION = re.compile(r"""\s*(\w+)\s*=\s*('[^']*'|"[^"]*"|[^,'"]+?)\s*(,|$)""")


def with_recipes(target: Target, texts: Iterable[str]) -> Target:
    """Returns the profile with `texts` as its ladder; the profile itself where there are none.

    Raises:
        UserError: A text is not a recipe.
    """
    named = {_bare(rung.name): rung for rung in target.ladder}
    rungs = tuple(named.get(_bare(text)) or parse(text) for text in texts)
    return msgspec.structs.replace(target, ladder=rungs) if rungs else target


def _bare(text: str) -> str:
    return "".join(text.split())


def parse(text: str) -> Rung:
    """Reads one recipe as a rung.

    Raises:
        UserError: It cannot be read; the error shows where, or names the technique meant.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"recipe {text[:80]!r}... has {len(text)} characters; allowed are {MOST_CHARACTERS}")
    *before, last = _steps(text)
    try:
        check_chain([step.technique for step in (*before, last)])
    except UserError as error:
        raise UserError(f"recipe {text!r}: {error}") from error
    return Rung(technique=last.technique, reason=ASKED, options=last.options, before=tuple(before))


def _steps(text: str) -> Sequence[LadderStep]:
    found, place, more = [], 0, ">"
    while more == ">":
        match = _STEP.match(text, place)
        if match is None:
            raise UserError(f"recipe {text!r} cannot be read at {text[place:]!r}; write it like {EXAMPLE}")
        name, options, more = match.groups()
        _check_technique(name, text)
        found.append(LadderStep(technique=name, reason=ASKED, options=_options(options or "", text)))
        place = match.end()
    return found


def _check_technique(name: str, text: str) -> None:
    known = sorted(TECHNIQUES)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(f"recipe {text!r}: unknown technique {name!r}{hint}; allowed: {', '.join(known)}")


def _options(inside: str, text: str) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    place = 0
    while inside[place:].strip():
        match = _OPTION.match(inside, place)
        if match is None:
            raise UserError(
                f"recipe {text!r}: options {inside[place:]!r} are not key=value, ...; write it like {EXAMPLE}, or as edgekit plan names it"
            )
        key, value, _ = match.groups()
        found[key] = _scalar(value)
        place = match.end()
    return found


def _scalar(text: str) -> Scalar:
    """Reads a number, true or false where it is one, else the text without its quotes."""
    try:
        value = json.loads(text.lower() if text.lower() in ("true", "false") else text.replace("_", ""))
    except ValueError:
        return text.strip("'\"")
    return value if isinstance(value, bool | int | float) else text.strip("'\"")
