"""How long stages took in earlier runs, in the user's cache: what comes first and how long it may still take are told by it.

Figures of the same model count; of another one they are better than none. The file is JSON, its user's alone as the cache of
stages is, and holds the latest figures only. A wrong one costs some waiting, never a result.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgekit.engine import private

TIMES = "times"  # the folder's name in the user's cache
FILE = "stages.json"
MOST = 4000  # figures that are kept
LONGEST_S = 1e7


class StageTimes:
    """Seconds of wall time by model, owner and label; the latest are last.

    Args:
        folder: Where they are kept; None keeps them for this run only.

    Raises:
        UserError: The folder or its file is a link, or another user's.
        OSError: The folder cannot be made.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known = self._read()
        self._new: dict[str, float] = {}
        self._usual = {_of_any_model(name): wall_s for name, wall_s in self._known.items()}

    def of(self, model: str, owner: str, label: str) -> float | None:
        """Returns what a stage of this model took last; None where it was not run yet."""
        return self._known.get(_name(model, owner, label))

    def of_any(self, owner: str, label: str) -> float | None:
        """Returns what such a stage took last, of whatever model."""
        return self._usual.get(_of_any_model(_name("", owner, label)))

    def note(self, model: str, owner: str, label: str, wall_s: float) -> None:
        """Notes what a stage took."""
        self._new[_name(model, owner, label)] = wall_s

    def keep(self) -> None:
        """Writes what was noted to what other runs have written in the meantime; a cache is no reason to fail."""
        if self._folder is None or not self._new:
            return
        with suppress(OSError):
            new, self._new = self._new, {}
            found = {name: wall_s for name, wall_s in self._read().items() if name not in new} | new
            partial = self._folder / f"{FILE}.partial"
            partial.write_text(json.dumps(dict([*found.items()][-MOST:])), encoding="utf-8")
            partial.replace(self._folder / FILE)

    def _read(self) -> dict[str, float]:
        if self._folder is None:
            return {}
        private.make_folder(self._folder)
        try:
            with private.open_file(self._folder, FILE) as file:
                found = json.load(file)
        except (ValueError, RecursionError):  # damaged
            return {}
        rows = found.items() if isinstance(found, dict) else ()
        return {name: float(wall_s) for name, wall_s in rows if _is_time(wall_s)}


def _is_time(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= LONGEST_S


def _name(model: str, owner: str, label: str) -> str:
    return "/".join((model[:16], owner, label))


def _of_any_model(name: str) -> str:
    return name.partition("/")[2]
