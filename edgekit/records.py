"""Every record of the flow, in order: Task + Target -> Plan -> Candidate -> Artifact -> Verdict -> Measurement -> Report.

Records are frozen, keyword-only and closed: a stage returns a new one, a field that nobody declared is an
error. They cross process borders as JSON. Units are in the names: `_s` seconds, `_bytes`, `_ratio` plain
quotients, `_db` decibels. Paths are strings, so that a record stays JSON.
"""

import math
from typing import Any, Literal, dataclass_transform

import msgspec

from edgekit.errors import BudgetError, UserError

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


class OutOfRange(UserError, ValueError):
    """A limit that no artifact could meet, or that is no number."""


class Budget(Record):
    """What an artifact must keep to be accepted. `None` means: not limited.

    max_drop: the metric may fall by so much below the float model's, in the metric's own unit; 0 = not at all.
    min_speedup: float time / artifact time in the same runtime must reach this; 1.0 = not slower than float,
    0 = speed does not count. min_agreement: the share of samples that must get the float model's answer, for a model
    whose output is [N, classes]. The other limits must be above 0. Raises OutOfRange, a UserError.
    """

    max_drop: float = 0.01
    min_speedup: float = 1.0
    max_size_bytes: int | None = None
    max_latency_s: float | None = None
    max_memory_bytes: int | None = None
    min_agreement: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            self._check(name, getattr(self, name))
        if self.min_agreement is not None and self.min_agreement > 1:
            raise OutOfRange(f"budget min_agreement is {self.min_agreement!r}; it must be a share, at most 1")

    @staticmethod
    def _check(name: str, value: Any) -> None:
        zero = name in ("max_drop", "min_speedup")
        if value is None and not zero:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < 0 or (value == 0 and not zero):
            allowed = "a finite number of at least 0" if zero else "a finite number above 0, or None"
            raise OutOfRange(f"budget {name} is {value!r}; it must be {allowed}")


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
    fingerprint: what the model, the data and the task's code are -> a hash of their content. weights: numbers in the
    weight tensors that the program uses, without biases and the like.
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
    weights: int = 0


class Figure(Record):
    """One measured number of a step, with its unit."""

    step: str
    name: str
    value: float
    unit: str


class FloatLayer(Record):
    """A layer that an integer candidate computes in float, and why.

    name: its node in the program. origin: the torch module, "features.0 (Conv2d)". macs_ratio: its share of the
    multiply-accumulates of all layers, where that was counted.
    """

    name: str
    origin: str
    macs_ratio: float | None
    reason: str


class LayerTime(Record):
    """Seconds of one layer, with what follows it up to the next layer, in the integer and in the float file."""

    name: str
    int8_s: float
    float_s: float


class LayerTimes(Record):
    """What the runtime's own profiler says of each layer; no layers and the reason where that cannot be told.

    border_s_per_element: one number of a tensor turned from float into an integer or back.
    """

    layers: tuple[LayerTime, ...]
    border_s_per_element: float
    runs: int
    measured_on: str
    reason: str = ""


class Candidate(Record):
    """A model after the steps of a recipe: an exported program on disk, ready to be lowered.

    float_layers: those of an integer candidate that stay float.
    """

    program: str
    recipe: Recipe
    quant: Quant | None = None
    float_layers: tuple[FloatLayer, ...] = ()
    figures: tuple[Figure, ...] = ()
    doubts: tuple[str, ...] = ()


class Artifact(Record):
    """The exported file (a folder for Core ML). `sha256` covers the content, see edgekit_runner.hashing.

    float_layers: how many layers of an integer file compute in float, by choice or for want of a kernel.
    """

    path: str
    format: Literal["onnx", "tflite", "coreml"]
    precision: Precision
    size_bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layout: Literal["NCHW", "NHWC", "as the model"]
    toolchain: dict[str, str]
    float_layers: int = 0
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
    right inputs. Both are None where there is no error at all, -200 where the tensor holds infinity or NaN; other
    figures are None there. Steps are quantization steps of an integer tensor.
    """

    node: str
    module: str
    op: str
    tensor: str
    matched: Literal["name", "order"]
    snr_db: float | None
    local_snr_db: float | None
    max_abs_error: float | None
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


class Shortfall(Record):
    """A limit that an attempt broke. limit: a field of Budget, or what has no number (precision lint, saturation).

    excess: by how much of the limit it was missed, 0.5 = by half; None where that has no number.
    """

    limit: str
    allowed: float | None = None
    found: float | None = None
    excess: float | None = None


class Decision(Record):
    """The gate's word on one attempt. `reasons` holds every limit that failed, or why it was accepted."""

    accepted: bool
    reasons: tuple[str, ...]
    not_measured: tuple[str, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()


class StageTime(Record):
    """What a stage cost: wall seconds and the peak memory of its own process.

    reused: a finished stage of an earlier, stopped run; the figures are those of that run.
    """

    stage: str
    wall_s: float
    peak_memory_bytes: int | None = None
    reused: bool = False


class Attempt(Record):
    """One rung of the ladder, as far as it got. error: the sentence of a stage that failed. blame: where it leaves
    the float model, looked for when the answers are wrong and at the first that misses the accuracy budget."""

    recipe: Recipe
    decision: Decision
    candidate: Candidate | None = None
    artifact: Artifact | None = None
    verdict: Verdict | None = None
    measurement: Measurement | None = None
    blame: Blame | None = None
    error: str | None = None
    stages: tuple[StageTime, ...] = ()


class ParetoPoint(Record):
    """One executed artifact among those of its target. attempt: its index, None for the float file.

    on_front: no other is at least as good in size, time and accuracy and better in one. missing: the figures it
    lacks; it is compared by the others.
    """

    name: str
    attempt: int | None
    size_bytes: int
    cpu_ratio: float | None
    drop: float | None
    on_front: bool
    missing: tuple[str, ...] = ()


class TargetReport(Record):
    """One target: the ladder as walked.

    shipped: the index of the attempt that was placed in the folder. explored: every recipe was tried, and the best
    of the accepted ones is shipped. points: all executed artifacts, and which of them are on the Pareto front.
    """

    target: str
    isa: str
    runtime: str
    accepted: bool
    attempts: tuple[Attempt, ...]
    plan: Plan
    shipped: int | None = None
    explored: bool = False
    points: tuple[ParetoPoint, ...] = ()
    baseline: Artifact | None = None
    folder: str | None = None
    summary: str = ""

    def __post_init__(self) -> None:
        if self.accepted != (self.shipped is not None):
            raise ValueError(f"accepted is {self.accepted} but shipped is {self.shipped}")
        if self.shipped is not None and not 0 <= self.shipped < len(self.attempts):
            raise ValueError(f"shipped is {self.shipped}; there are {len(self.attempts)} attempts")

    @property
    def chosen(self) -> Attempt | None:
        """The attempt that is shipped."""
        return None if self.shipped is None else self.attempts[self.shipped]


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
