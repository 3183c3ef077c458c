"""Recipes as a user writes them: `prune(macs=0.4, criterion=taylor) > distill(images=60000) > qat`.

Steps are techniques in order, `>` between them, options in brackets as key=value; a value with a comma or a bracket in it goes in
quotes. The last step tells the precision. Such recipes take the place of a profile's ladder, in the order given.
"""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from edgekit.errors import UserError
from edgekit.records import Precision, Scalar
from edgekit.target import LadderStep, Need, Rung, Target, technique_names

EXAMPLE = "prune(macs=0.5) > distill(images=20000) > qat"
ASKED = "asked for"
PRECISIONS: dict[str, Precision] = {
    **dict.fromkeys(("ptq", "qat", "dynamic", "mixed", "ptq_tensorflow"), "int8"),
    **dict.fromkeys(("fp16", "mixed_half"), "float16"),
}  # of any other last step, float32
NEEDS: dict[str, tuple[Need, ...]] = {
    "ptq": ("calibration",),
    "mixed": ("calibration",),
    "mixed_half": ("calibration",),
    "qat": ("calibration", "training"),
    "distill": ("training",),
    "ptq_tensorflow": ("tensorflow", "calibration"),
}

_STEP = re.compile(r"""\s*(\w+)\s*(?:\(((?:[^()'"]|'[^']*'|"[^"]*")*)\))?\s*(>|$)""")
_OPTION = re.compile(r"""\s*(\w+)\s*=\s*('[^']*'|"[^"]*"|[^,'"]+?)\s*(,|$)""")


def with_recipes(target: Target, texts: Iterable[str]) -> Target:
    """The profile with `texts` as its ladder; the profile itself without any. Raises UserError for a text that is no recipe."""
    rungs = tuple(parse(text) for text in texts)
    return msgspec.structs.replace(target, ladder=rungs) if rungs else target


def parse(text: str) -> Rung:
    """One recipe as a rung. Raises UserError that shows where it cannot be read, or names the technique meant."""
    *before, last = _steps(text)
    _check_order([step.technique for step in (*before, last)], text)
    names = [step.technique for step in (*before, last)]
    needs = dict.fromkeys(need for name in names for need in NEEDS.get(name, ()))
    return Rung(
        technique=last.technique,
        precision=PRECISIONS.get(last.technique, "float32"),
        reason=ASKED,
        options=last.options,
        needs=tuple(needs),
        before=tuple(before),
    )


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
    known = technique_names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(f"recipe {text!r}: unknown technique {name!r}{hint}; allowed: {', '.join(known)}")


def _check_order(names: Sequence[str], text: str) -> None:
    """What rounds comes after what trains and cuts: such steps take a float program."""
    for early, late in pairwise(names):
        if early in PRECISIONS and late not in PRECISIONS and late != "float32":
            raise UserError(f"recipe {text!r}: {late} needs a float program; put it before {early}")


def _options(inside: str, text: str) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    place = 0
    while inside[place:].strip():
        match = _OPTION.match(inside, place)
        if match is None:
            raise UserError(
                f"recipe {text!r}: options {inside[place:]!r} are not key=value, ...; write it like {EXAMPLE}"
            )
        key, value, _ = match.groups()
        found[key] = _scalar(value)
        place = match.end()
    return found


def _scalar(text: str) -> Scalar:
    """A number or true or false where it is one, else the text without its quotes."""
    try:
        value = json.loads(text.lower() if text.lower() in ("true", "false") else text.replace("_", ""))
    except ValueError:
        return text.strip("'\"")
    return value if isinstance(value, bool | int | float) else text.strip("'\"")
