"""What a file did on an emulated CPU. Instructions are counted there; time is not."""

from edgekit.records._base import Record
from edgekit.records.instructions import InstructionCount


class EmulatedRun(Record):
    """A file on one emulated CPU, against what this machine answers.

    Attributes:
        cpu: As qemu calls it: "cortex-a72".
        level: Its instruction-set level.
        emulator: With its version.
        passed: Whether the answers are within the tolerance.
        reason: Why not; "" where they are.
        samples: How many inputs were answered.
        max_abs_error: The largest difference, in the unit of the outputs.
        atol: The largest that is allowed.
        equal_ratio: The share of values that are equal bit for bit.
        top1_ratio: The share of samples whose largest value is in the same place; None where no output has several values.
        count: Instructions of an inference; None where the answers are wrong.
    """

    cpu: str
    level: str
    emulator: str
    passed: bool
    reason: str = ""
    samples: int = 0
    max_abs_error: float | None = None
    atol: float | None = None
    equal_ratio: float | None = None
    top1_ratio: float | None = None
    count: InstructionCount | None = None


class EmulatedRuns(Record):
    """A file on each emulated CPU that was asked for."""

    runs: tuple[EmulatedRun, ...]
