"""Runs stages: at most so many children at once, none while something is being timed, equal work only once.

The folder of a stage is named by a key: the hash of its function and of its spec, without the folder itself. The
paths in a spec lie in folders named so too, so that a key stands for all the content that went in. A folder that
holds a result is a finished stage, of this run or of one that was stopped, and is not run again.
"""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgekit.engine import process
from edgekit.records import Record, StageTime

R = TypeVar("R", bound=Record)


CHECKPOINT = "checkpoint"  # in the folder of a stage that trains, as long as it does
SHARED = "shared"  # the folder of what belongs to no single target


def key(function: str, spec: Callable[[Path], Record]) -> str:
    """What a stage is known by: its function and its spec in a folder that has no name yet."""
    plain = [function, msgspec.to_builtins(spec(Path("FOLDER")))]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


class Event(Record):
    """A stage began or ended; `target` is empty for work that all targets share."""

    target: str
    stage: str
    state: str  # started | done | reused | failed | note
    wall_s: float | None = None
    message: str = ""


class Slots:
    """The host: children share it, a measurement has it alone."""

    def __init__(self, jobs: int) -> None:
        self._free = self._jobs = jobs
        self._waiting = 0
        self._changed = threading.Condition()

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 and self._waiting == 0)
            self._free -= 1
        try:
            yield
        finally:
            self._release(1)

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._free == self._jobs)
            self._waiting -= 1
            self._free = 0
        try:
            yield
        finally:
            self._release(self._jobs)

    def _release(self, count: int) -> None:
        with self._changed:
            self._free += count
            self._changed.notify_all()


class Stages:
    """Runs named stages in `work` and tells `on_event`. Thread-safe: the targets walk their ladders side by side."""

    def __init__(self, work: Path, jobs: int, on_event: Callable[[Event], None]) -> None:
        self._work = work
        self._on_event = on_event
        self._lock = threading.Lock()
        self._shared: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._used: list[tuple[str, Path]] = []
        self._stop = threading.Event()
        self.slots = Slots(jobs)

    def run(
        self,
        target: str,
        stage: str,
        function: str,
        spec: Callable[[Path], Record],
        result: type[R],
        *,
        name: str,
        alone: bool = False,
    ) -> tuple[R, StageTime]:
        """One stage in a child process when the machine has room, or what it left when it ran before.

        spec: makes the spec for the folder of the stage. name: what the folder is called. alone: a measurement,
        which has the machine to itself.
        """
        folder = self._work / (target or SHARED) / f"{name}-{key(function, spec)}"
        self._use(target, folder)
        found = process.reuse(stage, result, folder)
        if found is not None:
            self._on_event(Event(target=target, stage=stage, state="reused", wall_s=found[1].wall_s))
            return found
        room = self.slots.alone if alone else self.slots.shared
        with room(), self._told(target, stage):
            return self._fresh(stage, function, spec(folder), result, folder, tuned=not alone)

    def trace(self, function: str, spec: Callable[[Path], Record], result: type[R]) -> tuple[R, StageTime]:
        """The first stage is always run: it tells whether the model and the data are still the same."""
        folder = self._work / SHARED / "trace"
        self._use("", folder)
        with self.slots.shared(), self._told("", "trace"):
            return self._fresh("trace", function, spec(folder), result, folder, tuned=True)

    def stop(self) -> None:
        """Ends every child, and every stage that was to follow."""
        self._stop.set()

    def logs(self, target: str) -> list[tuple[str, Path]]:
        """(file name, log) of what was done for `target` and for all, in order."""
        with self._lock:
            folders = [folder for owner, folder in self._used if owner in ("", target)]
        found = enumerate(dict.fromkeys(folders), 1)
        return [(f"{i:02d}-{f.name.rpartition('-')[0] or f.name}.txt", f / process.LOG) for i, f in found]

    def _use(self, target: str, folder: Path) -> None:
        with self._lock:
            self._used.append((target, folder))

    def _fresh(
        self, stage: str, function: str, spec: Record, result: type[R], folder: Path, tuned: bool
    ) -> tuple[R, StageTime]:
        _clear(folder)
        return process.run(stage, function, spec, result, folder, tuned=tuned, stop=self._stop)

    def once(self, key: str, make: Callable[[], R]) -> R:
        """The value of `make`, made by the first who asks for `key`; a failure is raised for everyone."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._shared:
                try:
                    self._shared[key] = make()
                except Exception as error:
                    self._shared[key] = error
            value = self._shared[key]
        if isinstance(value, Exception):
            raise value
        return value  # type: ignore[no-any-return]

    def note(self, target: str, message: str) -> None:
        self._on_event(Event(target=target, stage="", state="note", message=message))

    @contextmanager
    def _told(self, target: str, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        self._on_event(Event(target=target, stage=stage, state="started"))
        try:
            yield
        except Exception as error:
            self._on_event(
                Event(target=target, stage=stage, state="failed", wall_s=_since(started), message=str(error))
            )
            raise
        self._on_event(Event(target=target, stage=stage, state="done", wall_s=_since(started)))


def _clear(folder: Path) -> None:
    """Of an unfinished stage nothing can be relied on but its checkpoints, which are written whole."""
    for left in folder.iterdir() if folder.is_dir() else ():
        if left.is_dir() and left.name != CHECKPOINT:
            shutil.rmtree(left)
        elif left.name != CHECKPOINT:
            left.unlink()


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


class EventLog:
    """Collects events; `write` puts those of one target (and the shared ones) into a JSON-lines file."""

    def __init__(self, forward: Callable[[Event], None] | None) -> None:
        self._forward = forward
        self._lock = threading.Lock()
        self._events: list[tuple[float, Event]] = []

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._events.append((time.time(), event))
            if self._forward is not None:
                self._forward(event)

    def note(self, message: str) -> None:
        """Something about the whole run."""
        self(Event(target="", stage="", state="note", message=message))

    def write(self, target: str, path: Path) -> None:
        with self._lock:
            rows = [(at, e) for at, e in self._events if e.target in ("", target)]
        lines = [
            json.dumps({"unix_time_s": round(at, 3), **msgspec.to_builtins(e)}, sort_keys=True)
            for at, e in rows
        ]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
