"""The room for children on this host: they share it, a measurement has it alone, the most urgent comes first.

What is urgent is how much is left to do for the target that waits: the longest path ends the run. A measurement is the end of
its path, so it waits for those that have more to do, and keeps new ones out once it is its turn.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class _Waiting:
    alone: bool
    urgency_s: float


class Slots:
    """The room. Thread-safe.

    Args:
        jobs: How many children may run at once.
    """

    def __init__(self, jobs: int) -> None:
        self._free = self._jobs = jobs
        self._queue: list[_Waiting] = []
        self._changed = threading.Condition()

    @contextmanager
    def shared(self, urgency_s: float = 0.0) -> Iterator[None]:
        """Waits for a free slot and holds it.

        Args:
            urgency_s: Who has more comes first; among equals, who came first.
        """
        with self._room(_Waiting(False, urgency_s), 1):
            yield

    @contextmanager
    def alone(self, urgency_s: float = 0.0) -> Iterator[None]:
        """Waits until nothing else runs and holds all slots; what is less urgent does not start while it waits."""
        with self._room(_Waiting(True, urgency_s), self._jobs):
            yield

    @contextmanager
    def _room(self, asked: _Waiting, count: int) -> Iterator[None]:
        with self._changed:
            self._queue.append(asked)
            try:
                self._changed.wait_for(lambda: self._free >= count and self._is_next(asked))
                self._free -= count
            finally:
                self._queue.remove(asked)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()

    def _is_next(self, asked: _Waiting) -> bool:
        return max(self._queue, key=lambda waiting: waiting.urgency_s) is asked
