"""Runs stages: at most so many children at once, none while something is being timed, equal work only once."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgekit import child
from edgekit.records import Record, StageTime

R = TypeVar("R", bound=Record)


class Event(Record):
    """A stage began or ended; `target` is empty for work that all targets share."""

    target: str
    stage: str
    state: str  # started | done | failed | note
    wall_s: float | None = None
    message: str = ""


class Machine:
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
        self._count = 0
        self.machine = Machine(jobs)

    def folder(self, target: str, stage: str) -> Path:
        """A fresh folder for what a stage writes."""
        with self._lock:
            self._count += 1
            folder = self._work / (target or "shared") / f"{self._count:02d}-{stage}"
        folder.mkdir(parents=True)
        return folder

    def child(
        self, target: str, stage: str, function: str, spec: Record, result: type[R], folder: Path
    ) -> tuple[R, StageTime]:
        """One stage in a child process, when the machine has room."""
        with self.machine.shared(), self._told(target, stage):
            return child.run(stage, function, spec, result, folder)

    def alone(self, target: str, stage: str, call: Callable[[], R]) -> tuple[R, StageTime]:
        """A measurement, while nothing else of ours runs."""
        with self.machine.alone(), self._told(target, stage):
            started = time.perf_counter()
            value = call()
            return value, StageTime(stage=stage, wall_s=round(time.perf_counter() - started, 3))

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

    def write(self, target: str, path: Path) -> None:
        with self._lock:
            rows = [(at, e) for at, e in self._events if e.target in ("", target)]
        lines = [
            json.dumps({"unix_time_s": round(at, 3), **msgspec.to_builtins(e)}, sort_keys=True)
            for at, e in rows
        ]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
