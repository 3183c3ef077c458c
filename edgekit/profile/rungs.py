"""Ladders as profiles write them: names of shared rungs in place of the rungs themselves."""

import tomllib
from pathlib import Path
from typing import Any

from edgekit.errors import TargetError
from edgekit.technique import TECHNIQUES, needs_of


def expand(data: dict[str, Any], path: Path, rungs: Path) -> None:
    """Replaces the names of shared rungs by the rungs: "qat", or { use = "qat", reason = "..." }.

    Args:
        data: A profile as TOML has it; changed in place.
        path: The path of the profile, for messages.
        rungs: The file of shared rungs.

    Raises:
        TargetError: No shared rung has that name.
    """
    shared = tomllib.loads(rungs.read_text(encoding="utf-8"))
    ladder = data.get("ladder")
    for i, entry in enumerate(ladder if isinstance(ladder, list) else ()):
        own = {"use": entry} if isinstance(entry, str) else entry
        if not isinstance(own, dict) or "use" not in own:
            continue
        if own["use"] not in shared:
            raise TargetError(f"{path}: unknown rung {own['use']!r} in ladder; allowed: {', '.join(shared)}")
        data["ladder"][i] = {**shared[own["use"]], **{k: v for k, v in own.items() if k != "use"}}


def drop_what_the_table_says(data: dict[str, Any], path: Path) -> None:
    """Drops what profiles of earlier versions repeat of the table of techniques: `precision` and `needs`.

    Raises:
        TargetError: What they say is not true.
    """
    rungs = data.get("ladder", ())
    for rung in rungs if isinstance(rungs, list) else ():
        names = _names(rung)
        if not set(names) <= set(TECHNIQUES):
            continue
        true = {"precision": TECHNIQUES[names[-1]].precision, "needs": list(needs_of(names))}
        for key, value in true.items():
            if key in rung and _plain(rung.pop(key)) != _plain(value):
                raise TargetError(
                    f"{path}: {key} of {names[-1]} is {value!r} and need not be given; leave the key out"
                )


def _names(rung: Any) -> list[str]:
    """Returns the techniques of a ladder entry, as far as it is one."""
    steps = [*rung.get("before", ()), rung] if isinstance(rung, dict) else []
    return [str(step.get("technique")) for step in steps if isinstance(step, dict)] or [""]


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, list) else value
