"""What executing and measuring an artifact found: verdict, layer blame, measurement."""

from typing import Literal

from edgekit.records._base import Record
from edgekit.records.inputs import Precision


class OutputParity(Record):
    """One output of an artifact beside the float model's, over all samples compared, and its weakest slice.

    A slice is one channel of the output, all samples and positions together. snr_db: signal power over error power, None
    where there is no error. correlation: Pearson's, over all values; None where either side is constant. stuck_ratio: the
    share of values that lie on the artifact's own lowest or highest value where float has another, in the slice that has most.
    equal_ratio: the share of equal values of an output of integers, None for other outputs.
    slices: how many there are; lost: the channels whose variation is hidden by one scale for all (`edgekit.verify.outputs`).
    """

    name: str
    snr_db: float | None
    correlation: float | None
    stuck_ratio: float
    slices: int
    worst_slice: int | None = None
    worst_slice_snr_db: float | None = None
    lost: tuple[int, ...] = ()
    equal_ratio: float | None = None


class Parity(Record):
    """Artifact against float model on the samples of the metric (or the golden input when `samples` is 1).

    samples: how many were compared. agreement: share of samples with the same top-1, None where the first output holds no
    class scores.
    snr_db: 10 log10(signal power / error power) over all outputs; None when there is no error at all.
    outputs: each output by itself, in the order of the artifact.
    """

    samples: int
    max_abs_error: float
    rms_error: float
    snr_db: float | None
    agreement: float | None
    outputs: tuple[OutputParity, ...] = ()


class Work(Record):
    """What the operators of one kind do in one arithmetic: kind "CONV_2D", dtype "int8->int8"."""

    kind: str
    dtype: str
    operators: int
    macs: int
    in_precision: bool


class Lint(Record):
    """What the runtime really executes. `ops` maps "OP:dtype" to a count, after the runtime's own optimizer.

    work: the multiply-accumulates, by kind of operator. share: of them, the part that runs in the promised precision; of
    operators where nothing multiplies, None where nothing computes. weight_share: the part of the stored weight bytes that
    is held in it. called: what the file is, "int8", or "mixed, 38 % of the work in integers" below the profile's share.
    notes: what a user must know though nothing is broken. findings: what is.
    """

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
    work: tuple[Work, ...] = ()
    share: float | None = None
    weight_share: float | None = None
    called: str = ""
    notes: tuple[str, ...] = ()


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
    """What executing the artifact in its runtime proved.

    samples: those that the metric saw, 0 where nobody counted; `parity` may be of fewer. parity: with the float model. program_parity: with the float program that pruning, training and the like left of it, on the samples
    kept (32 at most): what quantizing and converting did to that; None where no such step was taken.
    """

    runtime: str
    metric: float
    float_metric: float
    parity: Parity
    lint: Lint
    saturation: Saturation | None = None
    golden: str | None = None
    doubts: tuple[str, ...] = ()
    program_parity: Parity | None = None
    samples: int = 0
    promised_db: tuple[float | None, ...] = ()
    kept_db: tuple[float | None, ...] = ()

    @property
    def drop(self) -> float:
        return self.float_metric - self.metric

    @property
    def scored(self) -> int:
        """n of the metric."""
        return self.samples or self.parity.samples


class LayerDegradation(Record):
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


class ChannelDegradation(Record):
    """The channel of an output that keeps least of its signal, beside what it is compared with.

    channel: its index, None where the output has no channels. lost: how many of all `channels` are below `limit_db`.
    """

    output: str
    channel: int | None
    snr_db: float
    lost: int
    channels: int
    limit_db: float


class Blame(Record):
    """Where an artifact leaves the float model: in the file or its runtime (conversion), or in the numbers (compression).

    conversion: the artifact against the candidate's program; compression: that program against float. Rows are in the
    order of execution. wrong_operator, harmful_layer: the first row out of tolerance, if any. skip: the option that
    leaves the harmful layer in float. matched: how tensors of the file were found to be those of the program. weakest: the
    channel of the candidate's program that keeps least to float, None where nothing was quantized.
    """

    runtime: str
    samples: int
    conversion: tuple[LayerDegradation, ...]
    compression: tuple[LayerDegradation, ...]
    wrong_operator: LayerDegradation | None
    harmful_layer: LayerDegradation | None
    skip: str
    matched: str
    conclusion: str
    doubts: tuple[str, ...] = ()
    weakest: ChannelDegradation | None = None


class Measurement(Record):
    """The runner's interleaved A/B of the artifact against the float file of the same runtime, one thread.

    ratio: CPU time of the artifact / CPU time of float; interval: 95 % interval of that median over rounds.
    peak_memory_bytes: VmHWM of a fresh process; model_memory_bytes: the same less what the process held before
    it imported the runtime. on_target: whether the machine that measured is one the target admits. faster_than_serving_isa:
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
    on_target: bool
    reason: str
    faster_than_serving_isa: bool = False
    model_memory_bytes: int | None = None
    float_model_memory_bytes: int | None = None
    doubts: tuple[str, ...] = ()
