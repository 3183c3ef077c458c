"""`report.json`: the record on disk, in canonical form and without unknown fields."""

import math
from pathlib import Path

import msgspec

from edgekit.errors import UserError
from edgekit.records import SCHEMA_VERSION, Report, convert
from edgekit.records.foreign import read_json, visible, visible_data
from edgekit.records.record_file import canonical
from edgekit.report.files import write_whole

NAME = "report.json"


class _Head(msgspec.Struct):
    """The two fields that every version of the schema holds."""

    schema_version: int
    edgekit_version: str = "unknown"


def read(path: Path) -> Report:
    """Reads a report.

    Args:
        path: The file, or the folder that holds `report.json`.

    Raises:
        UserError: It is missing, not JSON, of another schema version, or not what the schema allows.
    """
    file = path / NAME if path.is_dir() else path
    try:
        data = read_json(file)
    except OSError as error:
        raise UserError(
            f"cannot read {file}: {error.strerror}; give a {NAME} or the folder that `edgekit export` wrote"
        ) from error
    _check_version(file, data)
    try:
        return convert(visible_data(data), Report)
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(
            f"{file} is not a report of schema version {SCHEMA_VERSION}: {error}; export again"
        ) from error


def _check_version(file: Path, data: object) -> None:
    try:
        head = convert(data, _Head)
    except ValueError as error:  # half a character in a text is none of its validation errors
        raise UserError(
            f"{file} is not an edgekit report: {error}; give a {NAME} of `edgekit export`"
        ) from error
    if head.schema_version != SCHEMA_VERSION:
        raise UserError(
            f"{file} has schema version {head.schema_version}, this edgekit reads version {SCHEMA_VERSION}; "
            f"read it with the edgekit that wrote it ({visible(head.edgekit_version)}) or export again"
        )


def dump(report: Report, path: Path) -> None:
    """Writes `report` as sorted, indented JSON with a trailing newline, whole or not at all.

    Raises:
        ValueError: A number in it is not finite; JSON would silently turn it into null.
    """
    plain = msgspec.to_builtins(report)
    bad = _not_finite(plain, "report")
    if bad:
        raise ValueError(
            f"{bad} is not a finite number; a record states what is missing with None and a reason"
        )
    write_whole(path, canonical(report))


def _not_finite(value: object, where: str) -> str | None:
    """The path of the first float in `value` that is NaN or infinite."""
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    if isinstance(value, dict):
        children = [(f"{where}.{key}", child) for key, child in value.items()]
    elif isinstance(value, list | tuple):
        children = [(f"{where}[{index}]", child) for index, child in enumerate(value)]
    else:
        return None
    return next((found for name, child in children if (found := _not_finite(child, name))), None)
