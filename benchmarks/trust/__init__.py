"""The sections of the benchmark, one a file, found by their name.

A section holds:
    TRIALS                                what is measured -> how often
    measure(kind, index, place) -> dict   one trial; EdgekitError when it cannot be made
    rows(found) -> tuple of Row           what the trials say, from {kind: figures of each trial, by index};
                                          a pure function, so that it can be tested on trials that never were
"""

import importlib
from typing import Any

from edgekit.errors import UserError

SECTIONS = ("aa", "ab", "busy", "bare", "memory", "loadgen", "light")


def load(name: str) -> Any:
    """The module of a section."""
    return importlib.import_module(f"trust.{name}")


def choose(only: str) -> list[str]:
    """The sections that were asked for, in the order of the table. Raises UserError."""
    asked = [name.strip() for name in only.split(",") if name.strip()]
    for name in asked:
        if name not in SECTIONS:
            raise UserError(f"--only names {name!r}, which is no section; allowed: {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if not asked or name in asked]


def counts(name: str, repeat: int | None) -> dict[str, int]:
    """How often each kind of a section is measured, at most `repeat` times."""
    return {kind: min(full, repeat or full) for kind, full in load(name).TRIALS.items()}
