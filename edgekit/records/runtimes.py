"""An accepted file in each of the runtimes that read it, and which one serves it best."""

from edgekit.records._base import Record


class RuntimeTrial(Record):
    """An accepted file in one of the runtimes that read it.

    Attributes:
        version: Of the runtime; "" where it was not tried.
        accepted: Whether the file keeps every limit of the budget, the floor and its precision there, too.
        reason: Why it was accepted, refused or not tried.
        metric: The task's metric there.
        agreement: The share of samples with float's answer, None where the output holds no class scores.
        snr_db: Signal to error against the float model; None without any error.
        share: The part of the work in the promised precision, by this runtime's own graph.
        min_version: The oldest version that exported files were run in; "" where none was.
        cpu_ratio: CPU time / CPU time of the float file in the target's own runtime, in turns.
    """

    runtime: str
    accepted: bool
    reason: str
    version: str = ""
    metric: float | None = None
    agreement: float | None = None
    snr_db: float | None = None
    share: float | None = None
    cpu_ratio: float | None = None
    cpu_ratio_low: float | None = None
    cpu_ratio_high: float | None = None
    cpu_s: float | None = None
    measured_on: str = ""
    min_version: str = ""


class RuntimeChoice(Record):
    """Which runtime an accepted file is served by best.

    Attributes:
        fastest: The name of the runtime.
        reason: Why.
        trials: The target's own runtime first.
    """

    fastest: str
    reason: str
    trials: tuple[RuntimeTrial, ...]
