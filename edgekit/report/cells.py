"""One figure in words: its value, its unit, its interval or n, the reason if it is missing, its doubts."""

from typing import Literal

from edgekit.records import Artifact, Measurement, Record, Verdict
from edgekit.report import text

MISSING = "not measured"


class Cell(Record, frozen=True):
    """A figure with what it takes to understand it.

    Attributes:
        value: The figure with its unit.
        note: Its interval, its n, or what it is compared with.
        reason: Why it is missing.
        doubts: What its own record doubts about it.
        state: measured, elsewhere (on a machine the target does not admit) or missing.
    """

    value: str
    note: str = ""
    reason: str = ""
    doubts: tuple[str, ...] = ()
    state: Literal["measured", "elsewhere", "missing"] = "measured"

    @property
    def figure(self) -> str:
        """The value, with a star where it is doubted."""
        return f"{self.value}*" if self.doubts else self.value

    def __str__(self) -> str:
        words = f"{self.figure} {self.note}".rstrip()
        return f"{words}: {self.reason}" if self.reason else words


def size_cell(artifact: Artifact | None, baseline: Artifact | None, reason: str) -> Cell:
    """The size of the artifact, and its ratio to the float file."""
    if artifact is None:
        return Cell(value=MISSING, reason=reason, state="missing")
    note = "(no float file to compare)"
    if baseline is not None and baseline.size_bytes > 0:
        note = f"({text.times(artifact.size_bytes / baseline.size_bytes)} of float)"
    return Cell(value=text.size(artifact.size_bytes), note=note, doubts=artifact.doubts)


def metric_cell(verdict: Verdict | None, reason: str) -> Cell:
    """The metric of the artifact, its change from float, and n."""
    if verdict is None:
        return Cell(value=MISSING, reason=reason, state="missing")
    note = f"({text.change(-verdict.drop)}), n={verdict.scored}"
    return Cell(value=text.metric(verdict.metric), note=note, doubts=verdict.doubts)


def agreement_cell(verdict: Verdict | None, reason: str) -> Cell:
    """The share of samples with the float model's top-1."""
    if verdict is None:
        return Cell(value=MISSING, reason=reason, state="missing")
    if verdict.parity.agreement is None:
        return Cell(value=MISSING, reason="the first output holds no class scores", state="missing")
    return Cell(
        value=text.share(verdict.parity.agreement), note=f"n={verdict.parity.samples}", doubts=verdict.doubts
    )


def latency_cell(measurement: Measurement | None, reason: str) -> Cell:
    """The CPU time of the artifact / that of float, with the 95 % interval."""
    if measurement is None or measurement.cpu_ratio is None:
        return _not_here(measurement, reason)
    note = f"{text.interval(measurement.cpu_ratio_low, measurement.cpu_ratio_high)}, "
    note += text.count(measurement.rounds, "round")
    return _from_machine(measurement, text.times(measurement.cpu_ratio), note)


def memory_cell(measurement: Measurement | None, reason: str) -> Cell:
    """The peak memory of a fresh process that runs the artifact."""
    if measurement is None or measurement.peak_memory_bytes is None:
        return _not_here(measurement, reason)
    note = "(no float figure)"
    if measurement.float_peak_memory_bytes:
        note = f"({text.times(measurement.peak_memory_bytes / measurement.float_peak_memory_bytes)} of float)"
    return _from_machine(measurement, text.size(measurement.peak_memory_bytes), note)


def _not_here(measurement: Measurement | None, reason: str) -> Cell:
    note = "on the target" if measurement is not None and not measurement.on_target else ""
    said = measurement.reason if measurement is not None and measurement.reason else reason
    return Cell(value=MISSING, note=note, reason=said.removeprefix(f"{MISSING} {note}: "), state="missing")


def _from_machine(measurement: Measurement, value: str, note: str) -> Cell:
    if measurement.on_target:
        return Cell(value=value, note=note, doubts=measurement.doubts)
    where = measurement.measured_on or "an unnamed machine"
    return Cell(
        value=value, note=f"{note}, on {where}, not the target", doubts=measurement.doubts, state="elsewhere"
    )
