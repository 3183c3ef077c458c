"""What every benchmark does with its results: a JSON file that grows and is resumed, a Markdown table; and how options are read."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from edgekit.errors import UserError

Found = TypeVar("Found", bound=msgspec.Struct)


def read(path: Path | None, resume: bool, kind: type[Found]) -> Found | None:
    """What the file holds, None where there is none. Raises UserError if it is there without --resume, or is of
    something else."""
    if resume and path is None:
        raise UserError("--resume needs --json, the file of the run that was stopped")
    if path is None or not path.exists():
        return None
    if not resume:
        raise UserError(f"{path} exists; give --resume to add to it, or another --json")
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise UserError(f"{path} is not a result of this benchmark: {error}") from error


def refuse_others(path: Path | None, kept: msgspec.Struct, settings: msgspec.Struct) -> None:
    """Raises UserError where the kept settings are not these: such results do not belong in one table."""
    names = settings.__struct_fields__
    was = [
        f"{name}={getattr(kept, name)!r}" for name in names if getattr(kept, name) != getattr(settings, name)
    ]
    if was:
        raise UserError(f"{path} was made with {', '.join(was)}; give the same, or another --json")


def write(path: Path | None, results: msgspec.Struct) -> None:
    """Replaces the file in one step, so that a stopped run never leaves half of it."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(msgspec.to_builtins(results), indent=1), encoding="utf-8")
    partial.replace(path)


def read_options(texts: Sequence[str], images: int) -> dict[str, bool | int | float | str]:
    """KEY=VALUE of a technique and its budget; numbers where the text is one."""
    found: dict[str, bool | int | float | str] = {"images": images}
    for text in texts:
        key, _, value = text.partition("=")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def names(what: str, text: str, allowed: Sequence[str]) -> list[str]:
    """What is listed by commas. Raises UserError for a name that is none."""
    found = [name for name in text.split(",") if name]
    unknown = [name for name in found if name not in allowed]
    if unknown or not found:
        raise UserError(f"unknown {what} {', '.join(unknown) or 'none'}; allowed are {', '.join(allowed)}")
    return found


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def spread(values: Sequence[float | None], digits: int) -> str:
    """`82.50 [82.28, 82.62]`: mean, least, most; one value alone, `-` without any."""
    found = [value for value in values if value is not None]
    if not found:
        return "-"
    mean = f"{statistics.mean(found):.{digits}f}"
    if len(found) == 1:
        return mean
    return f"{mean} [{min(found):.{digits}f}, {max(found):.{digits}f}]"
