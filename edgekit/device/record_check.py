"""A record of another machine, held to the runner's JSON Schema before anything of it is shown or computed with."""

import functools
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit_runner import record as records
from edgekit_runner.cli import table
from edgekit_runner.errors import UserError as RunnerUserError
from edgekit_runner.record import SCHEMA_VERSION

from edgekit.errors import UserError
from edgekit.records.foreign import parse_json, read_bytes, visible

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

MOST_BYTES = 16 << 20  # of a file with one record
_MEASURED = {"bench": ("latency", "memory", "validity", "protocol")}  # what a record that is fine cannot lack


def read(path: Path) -> dict[str, Any]:
    """Reads a file with one record: what a runner printed, or `edgekit bench --json` for one artifact on one device.

    Raises:
        UserError: It cannot be read, or is not what the runner writes.
    """
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8")
        listed = json.loads(text)
        if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], dict):
            text = json.dumps(listed[0].get("record"))
        record = records.read(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a record of edgekit-runner") from error
    except (ValueError, RecursionError, RunnerUserError) as error:
        raise UserError(f"{path} is not a runner's record: {visible(str(error)).rstrip('.')}") from error
    fault = fault_of(record)
    if fault is not None:
        raise UserError(
            f"{path} is not a runner's record: {fault} is not what its schema says; measure again"
        )
    return record


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
