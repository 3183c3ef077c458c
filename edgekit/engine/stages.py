"""Runs stages: at most so many children at once (`edgekit.engine.slots`), equal work only once (`edgekit.engine.stage_folder`)."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from edgekit.engine import answer, process
from edgekit.engine.catalogue import TRACE, Stage
from edgekit.engine.child import LOG
from edgekit.engine.events import Event
from edgekit.engine.expected import Ahead, Expected
from edgekit.engine.identity import TRACE as TRACED
from edgekit.engine.identity import Places, of_stage
from edgekit.engine.job import Elsewhere
from edgekit.engine.machine import machine_facts
from edgekit.engine.slots import Slots
from edgekit.engine.specs import TraceSpec
from edgekit.engine.stage_cache import StageCache
from edgekit.engine.stage_folder import OBSERVED, SHARED, UNNAMED, clear, key
from edgekit.engine.stage_times import StageTimes
from edgekit.records import Record, StageTime, Traced

S = TypeVar("S", bound=Record)
R = TypeVar("R", bound=Record)


class Stages:
    """Runs named stages and reports their events. Thread-safe: the targets walk their ladders side by side.

    Args:
        work: The folder of the stages.
        jobs: How many children may run at once.
        on_event: Is told of every event.
        limit_s: In place of each stage's own limit of wall time, in seconds; 0 is none.
        elsewhere: Other machines that execute the stages; None is this one.

    Attributes:
        observed: The folder of what calibrating saw.
    """

    def __init__(
        self,
        work: Path,
        jobs: int,
        on_event: Callable[[Event], None],
        limit_s: float | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._limit_s, self._elsewhere = limit_s, elsewhere
        self._work = work
        self.observed = work / SHARED / OBSERVED
        self._on_event = on_event
        self._lock = threading.Lock()
        self._shared: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._used: list[tuple[str, Path]] = []
        self._stop = threading.Event()
        self._places = Places(work)
        self._cache: StageCache | None = None
        self._parts: Mapping[str, str] = {}
        self._machine: Mapping[str, str] = {}
        self._jobs = jobs
        self._slots = Slots(jobs)
        self._expected = Expected(jobs, StageTimes())

    def run(
        self,
        stage: Stage[S, R],
        spec: Callable[[Path], S],
        *,
        target: str = "",
        label: str = "",
        name: str = "",
        asker: str = "",
    ) -> tuple[R, StageTime]:
        """Runs one stage in a child process when the machine has room, or returns what it left when it ran before.

        Args:
            stage: What to run.
            spec: Makes the spec for the folder of the stage.
            target: Whose stage it is; empty is work that all targets share.
            label: What events call it; empty is the stage's name.
            name: What the folder is called, before the key; empty is the stage's name.
            asker: The target that waits for it, where that is not `target`.

        Returns:
            The result, and what it took.
        """
        label = label or stage.name
        folder = (
            self._work / (target or SHARED) / f"{name or stage.name}-{key(stage.function, spec(UNNAMED))}"
        )
        self._use(target, folder)
        identity = self._identity(stage, spec(UNNAMED), folder)
        found = self._found(stage, label, folder, identity)
        if found is not None:
            self._expected.ended(target, label, None)
            self._tell(target, label, "reused", found[1].wall_s)
            return found
        made = self._fresh(stage, spec(folder), folder, target, label, asker or target)
        if self._cache is not None and identity is not None and stage.worth_keeping(made[0]):
            self._cache.keep(identity, folder, self._places, label)
        return made

    @property
    def are_elsewhere(self) -> bool:
        """Whether other machines execute them."""
        return self._elsewhere is not None

    def use(self, cache: StageCache, parts: Mapping[str, str]) -> None:
        """Takes finished stages from a cache from now on, and keeps them there.

        Args:
            cache: Where they are kept.
            parts: The fingerprint of this run.
        """
        self._cache, self._parts, self._machine = cache, parts, machine_facts()

    def learn(self, times: StageTimes, model: str) -> None:
        """Takes what stages took in earlier runs from now on.

        Args:
            times: What they took; this run's figures go there, too.
            model: What the model is known by there.
        """
        self._expected = Expected(self._jobs, times, model)

    def expect(self, target: str, path: Sequence[Ahead]) -> None:
        """Says what a target will go through next: the longest path comes first."""
        self._expected.path(target, path)

    def _identity(self, stage: Stage[S, R], spec: S, folder: Path) -> str | None:
        if self._cache is None or (stage.alone and self._elsewhere is not None):
            return None
        identity = of_stage(stage, spec, self._parts, self._places, self._machine)
        if identity is not None:
            self._places.know(folder, identity)
        return identity

    def _found(
        self, stage: Stage[S, R], label: str, folder: Path, identity: str | None
    ) -> tuple[R, StageTime] | None:
        """Returns what the stage left, here or in the cache."""
        found = answer.reuse(label, stage.result, folder)
        if found is not None or self._cache is None or identity is None:
            return found
        if not self._cache.take(identity, folder, self._places):
            return None
        return answer.reuse(label, stage.result, folder)

    def trace(self, spec: Callable[[Path], TraceSpec]) -> tuple[Traced, StageTime]:
        """Runs the first stage, always: it tells whether the model and the data are still the same."""
        folder = self._work / SHARED / "trace"
        self._use("", folder)
        self._places.know(folder, TRACED)
        return self._fresh(TRACE, spec(folder), folder, "", "trace", "")

    def stop(self) -> None:
        """Ends every child, and prevents any stage that was to follow."""
        self._stop.set()

    def logs(self, target: str) -> list[tuple[str, Path]]:
        """Returns (file name, log) of what was done for all targets, then for `target`, in order."""
        with self._lock:
            folders = [folder for asked in ("", target) for owner, folder in self._used if owner == asked]
        found = enumerate(dict.fromkeys(folders), 1)
        return [(f"{i:02d}-{f.name.rpartition('-')[0] or f.name}.txt", f / LOG) for i, f in found]

    def _use(self, target: str, folder: Path) -> None:
        with self._lock:
            self._used.append((target, folder))

    def _fresh(
        self, stage: Stage[S, R], spec: S, folder: Path, target: str, label: str, asker: str
    ) -> tuple[R, StageTime]:
        urgency_s, elsewhere = self._expected.left_s(asker), self._elsewhere
        room = self._slots.alone if stage.alone and elsewhere is None else self._slots.shared
        where = elsewhere.executor(spec, urgency_s) if elsewhere else None
        with room(urgency_s), self._told(target, label):
            clear(folder)
            limit_s = self._limit_s
            made = process.run(
                stage, spec, folder, label=label, stop=self._stop, limit_s=limit_s, where=where
            )
            self._expected.ended(target, label, made[1].wall_s)
            return made

    def once(self, key: str, make: Callable[[], R]) -> R:
        """Returns the value of `make`, called by the first who asks for `key`; a failure is raised for everyone."""
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
        """Notes something about one target."""
        self._on_event(Event(target=target, stage="", state="note", message=message))

    @contextmanager
    def _told(self, target: str, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        self._tell(target, stage, "started")
        try:
            yield
        except Exception as error:
            self._tell(target, stage, "failed", _since(started), str(error))
            raise
        self._tell(target, stage, "done", _since(started))

    def _tell(
        self, target: str, stage: str, state: str, wall_s: float | None = None, message: str = ""
    ) -> None:
        left_s = self._expected.whole_left_s()
        event = Event(target=target, stage=stage, state=state, wall_s=wall_s, message=message, left_s=left_s)
        self._on_event(event)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
