"""A device's record, held to the runner's JSON Schema before anything of it is shown or computed with.

The schema is the runner's own, `edgekit_runner/schema/`, and uses few keywords of JSON Schema; these are all of them.
"""

import functools
import json
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

from edgekit_runner.record import SCHEMA_VERSION

_TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
}  # fmt: skip
_KNOWN = {
    "$anchor", "$comment", "$defs", "$id", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "const", "else", "enum",
    "format", "if", "items", "maxProperties", "minProperties", "minimum", "pattern", "patternProperties", "properties", "required",
    "then", "title", "type",
}  # fmt: skip


@functools.cache
def _schema() -> dict[str, Any]:
    name = f"record-{SCHEMA_VERSION}.schema.json"
    found: dict[str, Any] = json.loads((resources.files("edgekit_runner") / "schema" / name).read_bytes())
    return found


@functools.cache
def _anchors() -> dict[str, dict[str, Any]]:
    return {f"#{part['$anchor']}": part for part in _schema()["$defs"].values()}


def fault_of(record: Any) -> str | None:
    """Returns what in a record is not as its schema wants it, "latency.p50_s" or the like; None where all is."""
    return next(_faults(record, _schema(), "the record"), None)


def _faults(value: Any, part: Any, where: str) -> Iterator[str]:
    if isinstance(part, bool):
        yield from () if part else (where,)
        return
    assert set(part) <= _KNOWN, set(part) - _KNOWN
    if "$ref" in part:
        yield from _faults(value, _anchors()[part["$ref"]], where)
    if not _fits(value, part):
        yield where
        return
    for each in part.get("allOf", ()):
        yield from _faults(value, each, where)
    if "anyOf" in part and all(any(_faults(value, each, where)) for each in part["anyOf"]):
        yield where
    if "if" in part:
        branch = "else" if any(_faults(value, part["if"], where)) else "then"
        yield from _faults(value, part.get(branch, True), where)
    if isinstance(value, dict):
        yield from _faults_of_object(value, part, where)
    if isinstance(value, list) and "items" in part:
        for number, each in enumerate(value):
            yield from _faults(each, part["items"], f"{where}[{number}]")


def _faults_of_object(value: dict[str, Any], part: dict[str, Any], where: str) -> Iterator[str]:
    yield from (f"{where}.{key}" for key in part.get("required", ()) if key not in value)
    named, patterns = part.get("properties", {}), part.get("patternProperties", {})
    for key, each in value.items():
        rules = [named[key]] if key in named else []
        rules += [rule for pattern, rule in patterns.items() if re.search(pattern, key)]
        for rule in rules or [part.get("additionalProperties", True)]:
            yield from _faults(each, rule, f"{where}.{key[:40]}")


def _fits(value: Any, part: dict[str, Any]) -> bool:
    """Whether the keywords hold that look at the value alone."""
    kinds = part.get("type", ())
    if kinds and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "const" in part and not _same(value, part["const"]):
        return False
    if "enum" in part and not any(_same(value, each) for each in part["enum"]):
        return False
    if "minimum" in part and _is(value, "number") and not value >= part["minimum"]:
        return False
    if "pattern" in part and isinstance(value, str) and not re.search(part["pattern"], value):
        return False
    count = len(value) if isinstance(value, dict) else None
    return count is None or part.get("minProperties", 0) <= count <= part.get("maxProperties", count)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])  # type: ignore[arg-type]


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and value == other
