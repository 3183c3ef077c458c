"""`instructions`: proves one artifact and counts the instructions of each of several inferences, on an emulated CPU.

A number to hold a later artifact to, which hardly moves from run to run. It is no time (see `host.instruction_counter`). The
warm-up is left out: the first inference executes a little more.
"""

import gc
from dataclasses import dataclass
from typing import Annotated, ClassVar, TextIO

from edgekit_runner import spec as specs
from edgekit_runner.errors import RunnerError
from edgekit_runner.host.instruction_counter import MOST_MARKS_COUNT, InstructionCounter
from edgekit_runner.record import OneArtifact, Table
from edgekit_runner.value_rules import Rule


@dataclass(frozen=True, kw_only=True)
class Spec(specs.Spec):
    """`runs_count`: how many inferences are counted."""

    kind: ClassVar[str] = "instructions"
    stated: ClassVar[tuple[str, ...]] = ("runs_count",)

    runs_count: Annotated[int, Rule("count", 1, MOST_MARKS_COUNT - 1)] = 5


class Record(OneArtifact):
    """The proof, and the instructions of each inference."""

    instructions: Table | None


def work(spec: Spec, record: Record, parent: TextIO) -> None:
    """Fills the record.

    Args:
        spec: What the worker was asked for.
        record: A blank record of this kind.
        parent: Not used.

    Raises:
        RunnerError: The artifact does not run, is not what it should be, or nothing counts instructions here.
    """
    from edgekit_runner.kinds import _phases
    from edgekit_runner.stats import quantiles

    counter = InstructionCounter()
    try:
        with _phases.opened(spec, record) as (session, _):
            gc.disable()
            counter.mark()
            for _ in range(spec.runs_count):
                session.invoke()
                counter.mark()
            counts = counter.between()
    finally:
        counter.close()
    if not counts:
        raise RunnerError(
            "nothing counts instructions here: that takes edgekit's emulator, edgekit verify --arm."
        )
    record["instructions"] = {"per_run_count": counts, "p50_count": quantiles.median(counts)}
