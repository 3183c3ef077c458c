"""What crosses to each child process. Light, so that the parent needs no framework to write one."""

from edgekit.engine.task_source import TaskSource
from edgekit.records import (
    Artifact,
    Budget,
    Candidate,
    LayerTimes,
    Precision,
    Record,
    Step,
    TaskFacts,
    TensorSpec,
    Traced,
    WidthTable,
)
from edgekit.target import Target


class TraceSpec(Record):
    """The spec of edgekit.trace.stage:trace."""

    source: TaskSource
    work: str
    seed: int = 0


class Inspected(Record):
    """What edgekit.trace.inspection:inspect found of a model.

    Attributes:
        inputs: As a file of it takes them, with the example's shapes.
        outputs: As a file of it returns them.
        free: Axes that need not have the example's length: "ids axis 1: length, 1 to 512".
        parameters: How many there are.
        weights: How many of them are in weight tensors that the program uses.
        doubts: What is to be known of it.
    """

    facts: TaskFacts
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int
    weights: int
    free: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class Context(Record):
    """What a technique may ask of the run besides the candidate and the task.

    Attributes:
        work: The folder it may write to.
        traced: The float model and its answers.
        isa: The instruction-set level that will serve.
        times: The times of each layer in integers and in float, where the target's own kind of machine measured them.
        widths: What widths of layers cost there.
        observed: The folder where the steps of a run keep what calibrating saw; "" keeps nothing. No result depends on it.
    """

    work: str
    target: Target | None = None
    traced: Traced | None = None
    budget: Budget = Budget()
    isa: str = ""
    seed: int = 0
    times: LayerTimes | None = None
    widths: WidthTable | None = None
    observed: str = ""


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


class Steps(Record):
    """The spec of edgekit.techniques._stage:check, and what it returns."""

    steps: tuple[Step, ...]


class CompressSpec(Record):
    """The spec of edgekit.techniques._stage:compress."""

    candidate: Candidate
    step: Step
    source: TaskSource
    context: Context


class SavedModelSpec(Record):
    """The spec of edgekit.export._saved_model:make.

    Attributes:
        source: The task, for the layers that it registers.
    """

    source: TaskSource
    keras_file: str
    work: str


class SavedModel(Record):
    """A folder that TensorFlow reads."""

    path: str


class ExportSpec(Record):
    """The spec of edgekit.export._stage:export."""

    candidate: Candidate
    target: Target
    folder: str


class ProveSpec(Record):
    """The spec of edgekit.verify.prove:prove.

    Attributes:
        source: The task to score with.
        golden: Where the golden pair is written.
        exact: Whether the file is run without fused kernels.
        program: The float program that the file was made of, where steps changed what the model computes (prune, distill);
            "" is the float model.
        precision_share: The share of the profile.
        full_integer: Whether a file with any float operator breaks its promise.
        promised_db: What the candidate promises.
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
    full_integer: bool = False
    promised_db: tuple[float | None, ...] = ()


class MeasureSpec(Record):
    """The spec of edgekit.measure.stage:measure.

    Attributes:
        machine: The facts of the host, so that a kept figure is one of this machine.
    """

    artifact: Artifact
    baseline: Artifact
    golden: str
    traced: Traced
    target: Target
    isa: str
    machine: dict[str, str]
    work: str


class RecheckSpec(Record):
    """The spec of edgekit.verify.prove:recheck: a folder exported before, and the tolerance of its manifest.

    Attributes:
        exact: Whether the file is run without fused kernels.
    """

    artifact: Artifact
    runtime: str
    golden: str
    golden_atol: float
    exact: bool = False


class Recheck(Record):
    """What proving an artifact again found.

    Attributes:
        findings: What the precision lint found broken.
        notes: What it found that breaks no promise: which work runs in another precision.
        float_snr_db: The least that an output keeps to the float model's answer, in dB; None without an error or without
            that answer.
    """

    max_abs_error: float
    golden_atol: float
    findings: tuple[str, ...]
    float_snr_db: float | None = None
    notes: tuple[str, ...] = ()


class AnswerSpec(Record):
    """The spec of edgekit.verify.prove:answer.

    Attributes:
        inputs: An .npz with input_i, in the layout and the real values of the file.
        outputs: The .npz to write, with output_i.
        exact: Whether the file is run without fused kernels.
    """

    artifact: Artifact
    runtime: str
    inputs: str
    outputs: str
    exact: bool = False


class Answer(Record):
    """What an artifact answered: the .npz."""

    outputs: str


class BlameSpec(Record):
    """The spec of edgekit.verify.blame.stage:blame.

    It holds an artifact, the candidate it was exported from, and the float model.
    """

    artifact: Artifact
    candidate: Candidate
    traced: Traced
    runtime: str
