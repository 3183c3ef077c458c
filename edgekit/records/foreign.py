"""Text of strangers: files, records and reports of other machines are bounded before they are read, and made visible before they are shown."""

import json
import math
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from edgekit.errors import UserError

MOST_BYTES = 64 << 20
MOST_TOML_BYTES = 64 << 10
MOST_DEPTH = 64
_DIGITS = 300  # of a number: as large as a float can be
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """Reads a file of a stranger, or the first of its bytes that are too many; a pipe or a device would never end.

    Raises:
        OSError: It cannot be read.
        UserError: It is too large, or no file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UserError(f"{path} is no file; edgekit reads plain files alone")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        size = f"{most_bytes >> 20} MiB" if most_bytes >= 1 << 20 else f"{most_bytes >> 10} KiB"
        raise UserError(f"{path} has more than {size}; edgekit reads none as large")
    return data


def read_json(path: Path) -> Any:
    """Reads a JSON file of a stranger.

    Raises:
        OSError: It cannot be read.
        UserError: It is too large or too deep, or no JSON, or holds a number that is not finite.
    """
    return parse_json(read_bytes(path, MOST_BYTES), str(path))


def parse_json(data: bytes, what: str) -> Any:
    """Parses JSON of a stranger, `what` in messages.

    Raises:
        UserError: As `read_json`.
    """
    if len(data) > MOST_BYTES:
        raise UserError(f"{what} has more than {MOST_BYTES >> 20} MiB; edgekit writes none as large")
    try:
        found = json.loads(
            data.decode("utf-8"), parse_constant=_number, parse_float=_number, parse_int=_whole_number
        )
    except RecursionError as error:
        raise UserError(
            f"{what} is nested more than {MOST_DEPTH} levels deep; edgekit writes none so"
        ) from error
    except ValueError as error:
        raise UserError(f"{what} is not JSON: {error}") from error
    if _is_deeper(found, MOST_DEPTH):
        raise UserError(f"{what} is nested more than {MOST_DEPTH} levels deep; edgekit writes none so")
    return found


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _whole_number(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _is_deeper(value: Any, left: int) -> bool:
    """Whether it is nested deeper; level by level, since the interpreter's own limit may be near."""
    level = [value]
    while level and left:
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        left -= 1
    return any(isinstance(each, dict | list) for each in level)


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8; half a character cannot, as which Python reads a path's bytes that are none."""
    return text.encode("utf-8", "replace").decode("utf-8") == text


def visible(text: str) -> str:
    """Shows control characters as such: a terminal obeys them, and text of a stranger must not command it.

    Line feeds and tabs stay. What turns the direction of writing counts as one of them, and half a character, which cannot be printed.
    """
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def visible_data(value: Any) -> Any:
    """Plain data with every text in it made visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {
            visible(key) if isinstance(key, str) else key: visible_data(each) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [visible_data(each) for each in value]
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file of a stranger.

    Raises:
        OSError: It cannot be read.
        UserError: It is too large.
        ValueError: It is no TOML; the message says where, or that it is too deep.
    """
    text = read_bytes(path, MOST_TOML_BYTES).decode("utf-8")
    if any(line.split("=")[0].count(".") > MOST_DEPTH for line in text.splitlines()):
        raise ValueError(f"a key of more than {MOST_DEPTH} parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
