"""A stage as whatever starts its process must know it: this machine, or another one (`edgekit.engine.cluster`)."""

from collections.abc import Callable
from typing import Protocol

from edgekit.records import Record


class Stop(Protocol):
    """What ends a waiting parent: a threading.Event, or anything else that is set."""

    def is_set(self) -> bool:
        """Whether it is time to end."""


class Job(Record):
    """A stage as its process needs it, in the folder that all have in common.

    Attributes:
        folder: Where spec, result and log are written.
        spec: The text of its spec.json.
        label: What messages call it.
        family: What it is forked from; empty is a fresh interpreter.
        alone: Whether it measures time.
        limit_s: Seconds of wall time after which it is ended; 0 is none.
    """

    folder: str
    spec: str
    label: str
    family: str = ""
    alone: bool = False
    limit_s: float = 0.0


Execute = Callable[[Job, Stop | None], int | None]


class Elsewhere(Protocol):
    """Other machines that execute stages."""

    def executor(self, spec: Record, urgency_s: float) -> Execute:
        """Returns what executes a stage, for its spec; the more urgent comes first."""
