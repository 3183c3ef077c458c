"""Every record of the flow, in order: Task + Target -> Plan -> Candidate -> Artifact -> Verdict -> Measurement -> Report.

Records are frozen, keyword-only and closed: a stage returns a new one, a field that nobody declared is an
error. They cross process borders as JSON. Units are in the names: `_s` seconds, `_bytes`, `_ratio` plain
quotients, `_db` decibels. Paths are strings, so that a record stays JSON.
"""

import math
from typing import Any, Literal, dataclass_transform

import msgspec

from edgekit.errors import BudgetError

Precision = Literal["int8", "float16", "float32"]
Scalar = bool | int | float | str

SCHEMA_VERSION = 1


class _KeywordOnly(msgspec.StructMeta):
    """msgspec does not pass kw_only on to subclasses: each would take its fields by position."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> Any:
        return super().__new__(mcls, name, bases, namespace, kw_only=True, **config)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record(msgspec.Struct, metaclass=_KeywordOnly, frozen=True, forbid_unknown_fields=True):
    """Base of all records."""


class Budget(Record):
    """What an artifact must keep to be accepted. `None` means: not limited.

    max_drop: the metric may fall by so much below the float model's, in the metric's own unit.
    min_speedup: float time / artifact time in the same runtime must reach this; 1.0 = not slower than float.
    """

    max_drop: float = 0.01
    min_speedup: float = 1.0
    max_size_bytes: int | None = None
    max_latency_s: float | None = None
    max_memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and (not math.isfinite(value) or value < 0):
                raise ValueError(f"budget {name} is {value}; it must be a finite number of at least 0")


class TensorSpec(Record):
    """One input or output. `scale` and `zero_point` only where the file holds integers: real = (q - zero_point) * scale."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class Quant(Record):
    """The arithmetic of an integer target, what the quantizer reads."""

    activation_dtype: Literal["int8", "uint8"]
    weight_bits: int
    granularity: Literal["per_channel", "per_tensor"]
    symmetric_activations: bool

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 8:
            raise ValueError(f"weight_bits is {self.weight_bits}; allowed are 2 to 8")


class Step(Record):
    """A technique with its options, and why the plan chose it."""

    technique: str
    options: dict[str, Scalar] = {}
    reason: str = ""


class Recipe(Record):
    """An ordered tuple of steps; the name is what reports print."""

    name: str
    precision: Precision
    steps: tuple[Step, ...]


class Skipped(Record):
    """A technique the plan left out, and why."""

    technique: str
    reason: str


class Plan(Record):
    """The ladder for one task and one target: the first recipe that meets the budget is shipped."""

    task: str
    target: str
    isa: str
    budget: Budget
    recipes: tuple[Recipe, ...]
    skipped: tuple[Skipped, ...]


class Preprocessing(Record):
    """What the app must do to an image before the model sees it; lands in the manifest.

    mean, std: per channel or one number for all, on pixels scaled to [0, 1]. labels: class names in the order
    of the outputs.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    labels: tuple[str, ...] = ()


class TaskFacts(Record):
    """What the plan must know of a task, without its code or data."""

    name: str
    calibration: bool
    training: bool


class Traced(Record):
    """The float model as one exported program, with what it answers: the reference for everything after it.

    program: a torch.export file. predictions: an .npz that maps the hash of each input of the metric to the
    float model's output. samples_file: an .npz with input_i and output_i, the first samples of the metric and what the float model answered.
    fingerprint: what the model, the data and the task's code are -> a hash of their content.
    """

    facts: TaskFacts
    preprocessing: Preprocessing
    program: str
    predictions: str
    samples_file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metric: float
    samples: int
    parameters: int
    doubts: tuple[str, ...] = ()
    fingerprint: dict[str, str] = {}


class Figure(Record):
    """One measured number of a step, with its unit."""

    step: str
    name: str
    value: float
    unit: str


class Candidate(Record):
    """A model after the steps of a recipe: an exported program on disk, ready to be lowered."""

    program: str
    recipe: Recipe
    quant: Quant | None = None
    figures: tuple[Figure, ...] = ()
    doubts: tuple[str, ...] = ()


class Artifact(Record):
    """The exported file (a folder for Core ML). `sha256` covers the content, see edgekit_runner.hashing."""

    path: str
    format: Literal["onnx", "tflite", "coreml"]
    precision: Precision
    size_bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layout: Literal["NCHW", "NHWC", "as the model"]
    toolchain: dict[str, str]
    doubts: tuple[str, ...] = ()


class Parity(Record):
    """Artifact against float model on the samples of the metric (or the golden input when `samples` is 1).

    agreement: share of samples with the same top-1, None where the output is no [N, classes] array.
    snr_db: 10 log10(signal power / error power) over all outputs; None when there is no error at all.
    """

    samples: int
    max_abs_error: float
    rms_error: float
    snr_db: float | None
    agreement: float | None


class Lint(Record):
    """What the runtime really executes. `ops` maps "OP:dtype" to a count, after the runtime's own optimizer."""

    promised: Precision
    ops: dict[str, int]
    ops_in_precision: int
    ops_float: int
    conversions: int
    transposes: int
    input_dtypes: tuple[str, ...]
    output_dtypes: tuple[str, ...]
    passed: bool
    findings: tuple[str, ...]


class Saturation(Record):
    """u8 x s8 products in 16-bit sums (x86 without VNNI): fused kernels against the same file unfused.

    bound_holds: 255 * (largest sum of two adjacent |weights|) fits int16, so that no pair of products can
    saturate on any machine. agreement and max_abs_error compare the two runs on this machine.
    """

    bound_holds: bool
    agreement: float | None
    max_abs_error: float
    samples: int
    conclusion: str
    harmful: bool


class Verdict(Record):
    """What executing the artifact in its runtime proved."""

    runtime: str
    metric: float
    float_metric: float
    parity: Parity
    lint: Lint
    saturation: Saturation | None = None
    golden: str | None = None
    doubts: tuple[str, ...] = ()

    @property
    def drop(self) -> float:
        return self.float_metric - self.metric


class LayerHarm(Record):
    """One operator of the candidate's program, and how far its output is from what it is compared with.

    node: its name in the program. module: the torch module it came from. tensor: what it is called in the file.
    snr_db: signal to error with everything before it as it really ran; local_snr_db: the operator alone, given the
    right inputs. Both are None where there is no error at all. Steps are quantization steps of an integer tensor.
    """

    node: str
    module: str
    op: str
    tensor: str
    matched: Literal["name", "order"]
    snr_db: float | None
    local_snr_db: float | None
    max_abs_error: float
    max_steps: float | None = None
    rms_steps: float | None = None
    wrong: bool = False
    reason: str = ""


class Blame(Record):
    """Where an artifact leaves the float model: in the file or its runtime (conversion), or in the numbers (compression).

    conversion: the artifact against the candidate's program; compression: that program against float. Rows are in the
    order of execution. wrong_operator, harmful_layer: the first row out of tolerance, if any. skip: the option that
    leaves the harmful layer in float. matched: how tensors of the file were found to be those of the program.
    """

    runtime: str
    samples: int
    conversion: tuple[LayerHarm, ...]
    compression: tuple[LayerHarm, ...]
    wrong_operator: LayerHarm | None
    harmful_layer: LayerHarm | None
    skip: str
    matched: str
    conclusion: str
    doubts: tuple[str, ...] = ()


class Measurement(Record):
    """The runner's interleaved A/B of the artifact against the float file of the same runtime, one thread.

    ratio: CPU time of the artifact / CPU time of float; interval: 95 % interval of that median over rounds.
    peak_memory_bytes: VmHWM of a fresh process; model_memory_bytes: the same less what the process held before
    it imported the runtime. decides: whether the machine that measured is one the target admits. stronger:
    it is, but it multiplies int8 faster than the level that will serve, so that it can refuse but not vouch.
    """

    cpu_ratio: float | None
    cpu_ratio_low: float | None
    cpu_ratio_high: float | None
    rounds: int
    cpu_s: float | None
    float_cpu_s: float | None
    peak_memory_bytes: int | None
    float_peak_memory_bytes: int | None
    measured_on: str
    decides: bool
    reason: str
    stronger: bool = False
    model_memory_bytes: int | None = None
    float_model_memory_bytes: int | None = None
    doubts: tuple[str, ...] = ()


class Decision(Record):
    """The gate's word on one attempt. `reasons` holds every limit that failed, or why it was accepted."""

    accepted: bool
    reasons: tuple[str, ...]
    not_measured: tuple[str, ...] = ()


class StageTime(Record):
    """What a stage cost: wall seconds and the peak memory of its own process.

    reused: a finished stage of an earlier, stopped run; the figures are those of that run.
    """

    stage: str
    wall_s: float
    peak_memory_bytes: int | None = None
    reused: bool = False


class Attempt(Record):
    """One rung of the ladder, as far as it got. `error` is the sentence of a stage that failed."""

    recipe: Recipe
    decision: Decision
    candidate: Candidate | None = None
    artifact: Artifact | None = None
    verdict: Verdict | None = None
    measurement: Measurement | None = None
    error: str | None = None
    stages: tuple[StageTime, ...] = ()


class TargetReport(Record):
    """One target: the ladder as walked. The last attempt is the accepted one, if `accepted`."""

    target: str
    isa: str
    runtime: str
    accepted: bool
    attempts: tuple[Attempt, ...]
    plan: Plan
    baseline: Artifact | None = None
    folder: str | None = None
    summary: str = ""

    @property
    def chosen(self) -> Attempt | None:
        return next((a for a in self.attempts if a.decision.accepted), None)


class Report(Record):
    """What `deploy` returns and `report.json` holds. `print(report)` shows the table, one line a target."""

    schema_version: int
    edgekit_version: str
    task: str
    created: str
    machine: dict[str, str]
    float_metric: float
    samples: int
    parameters: int
    targets: tuple[TargetReport, ...]
    budget: Budget | None = None
    stages: tuple[StageTime, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return all(target.accepted for target in self.targets)

    def raise_for_budget(self) -> None:
        """Raises BudgetError naming every target without an accepted artifact, with the reasons."""
        failed = [f"{t.target}: {t.summary}" for t in self.targets if not t.accepted]
        if failed:
            raise BudgetError("no artifact meets the budget for " + "; ".join(failed))

    def __str__(self) -> str:
        return "\n".join(f"{t.target}: {t.summary}" for t in self.targets)
