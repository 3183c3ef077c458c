"""What a run tells while it lasts: stages that begin and end, and notes."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgekit.records import Record


class Event(Record):
    """What a stage of a run, or the run itself, has to tell.

    Attributes:
        target: The target it belongs to; empty for work that all targets share.
        stage: The name of the stage; empty for a note.
        state: What happened: "started", "done", "reused", "failed" or "note".
        wall_s: How long an ended stage took, in seconds.
        message: The text of a note, or why the stage failed.
        left_s: Seconds until the run has ended, where its stages were run before.
    """

    target: str
    stage: str
    state: str  # started | done | reused | failed | note
    wall_s: float | None = None
    message: str = ""
    left_s: float | None = None


class EventLog:
    """Collects events; `write` puts those of one target (and the shared ones) into a JSON-lines file."""

    def __init__(self, forward: Callable[[Event], None] | None) -> None:
        self._forward = forward
        self._lock = threading.Lock()
        self._events: list[tuple[float, Event]] = []

    def __call__(self, event: Event) -> None:
        """Keeps an event and passes it on."""
        with self._lock:
            self._events.append((time.time(), event))
            if self._forward is not None:
                self._forward(event)

    def note(self, message: str) -> None:
        """Notes something about the whole run."""
        self(Event(target="", stage="", state="note", message=message))

    def write(self, target: str, path: Path) -> None:
        """Writes the events of one target, and the shared ones, as JSON lines."""
        with self._lock:
            rows = [(at, e) for at, e in self._events if e.target in ("", target)]
        lines = [
            json.dumps({"unix_time_s": round(at, 3), **msgspec.to_builtins(e)}, sort_keys=True)
            for at, e in rows
        ]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
