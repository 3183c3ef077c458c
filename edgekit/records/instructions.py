"""instructions.json: guest instructions of one inference on emulated CPUs. Its JSON Schema is `edgekit schema instructions`.

It is a number without noise to hold a later file to, and no time: caches, memory and how many instructions a CPU starts at once
are not in it.
"""

import statistics
from typing import Annotated, Literal

from msgspec import Meta

from edgekit.records._base import Record, Sha256

SCHEMA_VERSION = 1
Count = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Word = Annotated[str, Meta(min_length=1, max_length=100)]


def middle(runs: tuple[int, ...]) -> int:
    """The median, rounded down."""
    return int(statistics.median(runs))


class InstructionCount(Record):
    """One file on one CPU, on one thread.

    Attributes:
        target: Its name.
        artifact_sha256: As the manifest has it.
        isa: Of the guest: "aarch64".
        cpu: What the emulator calls it: "cortex-a72".
        runs: Instructions of one inference each; the first ones, which warm up, are left out.
        instructions_per_inference: Their median.
        float_runs: The same of the float file, in the same runtime on the same CPU; empty where there is none.
    """

    target: Word
    artifact_sha256: Sha256
    isa: Word
    cpu: Word
    runtime: Word
    runtime_version: Word
    runs: Annotated[tuple[Count, ...], Meta(min_length=1, max_length=10_000)]
    instructions_per_inference: Count
    float_runs: Annotated[tuple[Count, ...], Meta(max_length=10_000)] = ()
    float_instructions_per_inference: Count | None = None

    def __post_init__(self) -> None:
        if self.instructions_per_inference != middle(self.runs):
            raise ValueError("instructions_per_inference is not the median of runs")
        if self.float_instructions_per_inference != (middle(self.float_runs) if self.float_runs else None):
            raise ValueError("float_instructions_per_inference is not the median of float_runs")

    @property
    def ratio(self) -> float | None:
        """Of the float file's."""
        other = self.float_instructions_per_inference
        return None if other is None else self.instructions_per_inference / other

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What two counts must share to be compared."""
        return self.target, self.isa, self.cpu, self.runtime


class Instructions(Record):
    """The whole file.

    Attributes:
        emulator: With its version: "qemu-aarch64 7.2.17".
    """

    schema_version: int
    kind: Literal["instructions"]
    edgekit_version: Word
    emulator: Word
    counts: Annotated[tuple[InstructionCount, ...], Meta(min_length=1, max_length=1000)]

    def __post_init__(self) -> None:
        if len({count.place for count in self.counts}) < len(self.counts):
            raise ValueError("two counts are of the same target, CPU and runtime")
