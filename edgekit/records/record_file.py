"""A JSON file that holds one record: written in canonical form; read within bounds, of one schema version, refused in a sentence."""

import json
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from edgekit.errors import UserError
from edgekit.records._base import Record, convert
from edgekit.records.foreign import read_json

R = TypeVar("R", bound=Record)


class Words(NamedTuple):
    """What a reader says of its kind of file.

    Attributes:
        holds: What is in it, "a manifest".
        source: Where such a file comes from, "give a folder that `edgekit export` wrote".
        again: What makes a good one of a bad one, "export again".
    """

    holds: str
    source: str
    again: str


def canonical(record: msgspec.Struct) -> str:
    """Returns a record as sorted, indented JSON that ends with a line feed. Raises ValueError for NaN and infinity."""
    plain = msgspec.to_builtins(record)
    return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_record(path: Path, kind: type[R], schema_version: int, words: Words) -> R:
    """Reads a file with one record.

    Args:
        path: The file.
        kind: Its record.
        schema_version: The one that this edgekit reads.
        words: What is said where it cannot be read.

    Raises:
        UserError: It cannot be read, is not JSON, of another schema version, or not what such a file holds.
    """
    try:
        data = read_json(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {words.source}") from error
    given = data.get("schema_version") if isinstance(data, dict) else None
    if given != schema_version:
        raise UserError(
            f"{path} has schema_version {given!r}; this edgekit reads {schema_version}; {words.again}"
        )
    try:
        return convert(data, kind)
    except ValueError as error:  # half a character in a text is none of its validation errors
        raise UserError(f"{path} does not hold {words.holds}: {error}; {words.again}") from error
