"""What crosses to each child process. Light, so that the parent needs no framework to write one."""

from edgekit.records import (
    Artifact,
    Budget,
    Candidate,
    LayerTimes,
    Precision,
    Record,
    Step,
    Traced,
    WidthTable,
)
from edgekit.target import Target
from edgekit.task import TaskSource


class TraceSpec(Record):
    """For edgekit.trace.stage:trace."""

    source: TaskSource
    work: str
    seed: int = 0


class Context(Record):
    """What a technique may ask of the run besides the candidate and the task.

    work: the folder it may write to. traced: the float model and its answers. isa: the level that will serve.
    times: of each layer in integers and in float, where the target's own kind of machine measured. widths: what widths of layers
    cost there.
    """

    work: str
    target: Target | None = None
    traced: Traced | None = None
    budget: Budget = Budget()
    isa: str = ""
    seed: int = 0
    times: LayerTimes | None = None
    widths: WidthTable | None = None


class LayerTimesSpec(Record):
    """For edgekit.measure.layer_times:layer_times: the same model in integers and in float, of one runtime."""

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
    """What is to be timed for a table. whole: the network in the precision of the table, then in float if that is another one.
    conditions: where the figures will hold. reason: why nothing is to be timed.
    """

    whole: tuple[Artifact, ...]
    conditions: dict[str, str]
    rows: tuple[RowFiles, ...] = ()
    reason: str = ""


class WidthTableSpec(Record):
    """For edgekit.measure.width_table: the candidate that is to be pruned by `step`, and where its layers are timed.

    precision: of the file that will ship. device: as `edgekit bench` writes one. machine: the host's facts. files: what was written
    to be timed. pruned: the candidate after the step, where its time is asked for.
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
    """CPU seconds of a pruned network and of the whole one, in turns."""

    pruned_s: float
    base_s: float


class Steps(Record):
    """For edgekit.techniques._stage:check, and what it returns."""

    steps: tuple[Step, ...]


class CompressSpec(Record):
    """For edgekit.techniques._stage:compress."""

    candidate: Candidate
    step: Step
    source: TaskSource
    context: Context


class SavedModelSpec(Record):
    """For edgekit.export._saved_model:make. source: the task, for the layers that it registers."""

    source: TaskSource
    keras_file: str
    work: str


class SavedModel(Record):
    """A folder that TensorFlow reads."""

    path: str


class ExportSpec(Record):
    """For edgekit.export._stage:export."""

    candidate: Candidate
    target: Target
    folder: str


class ProveSpec(Record):
    """For edgekit.verify.prove:prove.

    source: the task to score with. exact: run without fused kernels. golden: where the golden pair is written. program: the
    float program that the file was made of, where steps changed what the model computes (prune, distill); "" is the float model.
    precision_share: as the profile's. promised_db: the candidate's.
    """

    artifact: Artifact
    traced: Traced
    source: TaskSource
    runtime: str
    isa: str
    host_isa: str
    golden: str
    exact: bool = False
    seed: int = 0
    program: str = ""
    precision_share: float = 0.8
    promised_db: tuple[float | None, ...] = ()


class MeasureSpec(Record):
    """For edgekit.measure.stage:measure. machine: the host's facts, so that a kept figure is one of this machine."""

    artifact: Artifact
    baseline: Artifact
    golden: str
    traced: Traced
    target: Target
    isa: str
    machine: dict[str, str]
    work: str


class RecheckSpec(Record):
    """For edgekit.verify.prove:recheck: a folder exported before, and the tolerance of its manifest."""

    artifact: Artifact
    runtime: str
    golden: str
    golden_atol: float


class Recheck(Record):
    """What re-proving found; `findings` are those of the precision lint. float_snr_db: the least that an output keeps to
    the float model's answer, None without an error or without that answer.
    """

    max_abs_error: float
    golden_atol: float
    findings: tuple[str, ...]
    float_snr_db: float | None = None


class BlameSpec(Record):
    """For edgekit.verify.blame.stage:blame: an artifact, the candidate it was exported from, and the float model."""

    artifact: Artifact
    candidate: Candidate
    traced: Traced
    runtime: str
