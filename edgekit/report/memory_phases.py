"""What a fresh process holds in memory phase by phase, beside the same of the float file."""

from edgekit.records import Measurement, Record
from edgekit.report import text

WORDS = {
    "baseline": "Python and NumPy alone",
    "import": "the runtime imported",
    "load": "the file loaded",
    "first_inference": "first inference",
    "warmup": "warm",
}


class Phase(Record, frozen=True):
    """One phase.

    Attributes:
        name: In words.
        held: The most that was resident in it.
        float_held: The same with the float file, "" where it is unknown.
        percent: The length of its bar, relative to the largest.
        float_percent: The same of float.
    """

    name: str
    held: str
    float_held: str
    percent: int
    float_percent: int


def phases(took: Measurement | None) -> tuple[Phase, ...]:
    """The phases in their order; none where a measurement does not tell them."""
    if took is None:
        return ()
    own, other = took.memory_phases_bytes, took.float_memory_phases_bytes
    most = max((*own.values(), *other.values()), default=1) or 1
    return tuple(
        Phase(
            name=words,
            held=text.size(own[name]),
            float_held=text.size(other[name]) if name in other else "",
            percent=round(100 * own[name] / most),
            float_percent=round(100 * other.get(name, 0) / most),
        )
        for name, words in WORDS.items()
        if name in own
    )
