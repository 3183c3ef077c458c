"""A record of another machine, held to the runner's JSON Schema before anything of it is shown or computed with."""

import functools
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from edgekit_runner.cli import table
from edgekit_runner.record import SCHEMA_VERSION

from edgekit.errors import UserError
from edgekit.records.foreign import parse_json, visible

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_MEASURED = {"bench": ("latency", "memory", "validity", "protocol")}  # what a record that is fine cannot lack


@functools.cache
def _validator() -> "Draft202012Validator":
    from jsonschema import Draft202012Validator

    name = f"record-{SCHEMA_VERSION}.schema.json"
    schema = json.loads((resources.files("edgekit_runner") / "schema" / name).read_bytes())
    return Draft202012Validator(schema)


def fault_of(record: dict[str, Any]) -> str | None:
    """Returns what in a record is not as the runner writes it, "the record.latency.p50_s" or the like; None where all is.

    Args:
        record: What `edgekit_runner.record.read` returned.
    """
    try:
        plain = parse_json(json.dumps(record).encode(), "the record")
    except UserError as error:  # too large or too deep, or with a number that is not finite
        return visible(str(error))
    wrong = min(_validator().iter_errors(plain), key=lambda each: len(each.absolute_path), default=None)
    if wrong is not None:
        return visible(".".join(["the record", *(str(part)[:40] for part in wrong.absolute_path)]))
    if record["status"] == "ok":
        needed = (key for key in ("artifact", *_MEASURED.get(record["kind"], ())) if key in record)
        for key in needed:
            if not record[key]:
                return f"the record.{key}"
    try:
        table.render(record)  # the schema counts the keys of most parts, it does not name them
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as odd:
        return visible(f"the record ({type(odd).__name__}: {odd})")
    return None
