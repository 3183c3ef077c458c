"""The names of a technique's options, read from its text: a mistyped one is answered before any framework is imported.

Only the name is looked at here; whether a value is allowed is left to the process that imports the technique.
"""

import ast
from importlib.util import find_spec
from pathlib import Path

from edgekit.errors import UserError
from edgekit.records import Step
from edgekit.records._options import unknown_option

PACKAGE = "edgekit.techniques"


def check_names(step: Step) -> None:
    """Raises UserError where a technique surely has no option of a name that is given."""
    known = names_of(step.technique)
    if known is None:
        return
    for name in step.options:
        if name not in known:
            raise UserError(unknown_option(step.technique, name, known))


def names_of(technique: str) -> tuple[str, ...] | None:
    """Returns the options in their order; None where the text does not tell."""
    package = find_spec(PACKAGE)
    places = package.submodule_search_locations if package is not None else None
    place = Path(next(iter(places or [""]))) / f"{technique}.py"
    if not place.is_file():
        return None
    for found in ast.parse(place.read_bytes()).body:
        if isinstance(found, ast.ClassDef) and found.name == "Options":
            if [ast.unparse(base) for base in found.bases] != ["Settings"]:
                return None
            fields = [each.target for each in found.body if isinstance(each, ast.AnnAssign)]
            return tuple(field.id for field in fields if isinstance(field, ast.Name))
    return None
