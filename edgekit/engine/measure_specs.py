"""What crosses to the stages that take time and memory, and what they return."""

from edgekit.engine.task_source import TaskSource
from edgekit.records import Artifact, Candidate, Precision, Record, Step, Traced
from edgekit.target import Target


class LayerTimesSpec(Record):
    """The spec of edgekit.measure.layer_times:layer_times: the same model in integers and in float, for one runtime."""

    artifact: Artifact
    baseline: Artifact
    runtime: str
    machine: dict[str, str]


class RowFiles(Record):
    """Files of one micro-model at several widths, to be timed in turns; none where its figures are in the cache."""

    micro: str
    widths: tuple[int, ...]
    files: tuple[Artifact, ...] = ()


class WidthFiles(Record):
    """What is to be timed for a table.

    Attributes:
        whole: The network in the precision of the table, then in float if that is another one.
        conditions: Where the figures will hold.
        rows: The micro-models.
        reason: Why nothing is to be timed.
    """

    whole: tuple[Artifact, ...]
    conditions: dict[str, str]
    rows: tuple[RowFiles, ...] = ()
    reason: str = ""


class WidthTableSpec(Record):
    """The spec of edgekit.measure.width_table.

    Attributes:
        candidate: The candidate that is to be pruned by `step`.
        precision: The precision of the file that will ship.
        device: Where its layers are timed, as `edgekit bench` writes a device.
        machine: The facts of the host.
        files: What was written to be timed.
        pruned: The candidate after the step, where its time is asked for.
    """

    candidate: Candidate
    step: Step
    source: TaskSource
    target: Target
    isa: str
    precision: Precision
    device: str
    machine: dict[str, str]
    work: str
    files: WidthFiles | None = None
    pruned: Candidate | None = None


class PlanTime(Record):
    """CPU seconds of a pruned network and of the whole one, timed in turns."""

    pruned_s: float
    base_s: float


class MeasureSpec(Record):
    """The spec of edgekit.measure.stage:measure.

    Attributes:
        machine: The facts of the host, so that a kept figure is one of this machine.
        runtime: What runs the artifact, "" for the target's own runtime, in which float runs.
        runtime_version: As of ProveSpec.
        device: Where it is timed, as `edgekit bench` writes a device; "" for this machine.
    """

    artifact: Artifact
    baseline: Artifact
    golden: str
    traced: Traced
    target: Target
    isa: str
    machine: dict[str, str]
    work: str
    runtime: str = ""
    runtime_version: str = ""
    device: str = ""
