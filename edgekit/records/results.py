"""What executing and measuring an artifact found: verdict, layer blame, measurement."""

from typing import Literal

from edgekit.records._base import Record
from edgekit.records.flips import Flips
from edgekit.records.inputs import Precision


class OutputParity(Record):
    """One output of an artifact beside the float model's, over all samples compared, and its weakest slice.

    A slice is one channel of the output, all samples and positions together.

    Attributes:
        snr_db: Signal power over error power, None where there is no error.
        correlation: Pearson's correlation over all values; None where either side is constant.
        stuck_ratio: The share of values that lie on the artifact's own lowest or highest value where float has another,
            in the slice that has most of them.
        slices: How many slices there are.
        lost: The channels whose variation is hidden by one scale for all (`edgekit.verify.outputs`).
        equal_ratio: The share of equal values for an output of integers, None for other outputs.
        measure: The kind of measure that `agreement` is of, "" where it was not measured.
        agreement: How far it is the float model's answer, from 0 to 1 (`Measure`).
        psnr_db: The mean of 20 log10(range / root mean square of the error) over the samples; None for other measures.
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
    measure: str = ""
    agreement: float | None = None
    psnr_db: float | None = None


class Parity(Record):
    """The artifact against the float model on the samples of the metric, or the golden input when `samples` is 1.

    Attributes:
        samples: How many were compared.
        snr_db: 10 log10(signal power / error power) over all outputs; None when there is no error at all.
        agreement: The least agreement of an output by its own measure; correlation counts where no output has another one.
        outputs: Each output by itself, in the order of the artifact.
    """

    samples: int
    max_abs_error: float
    rms_error: float
    snr_db: float | None
    agreement: float | None
    outputs: tuple[OutputParity, ...] = ()


class Work(Record):
    """What the operators of one kind do in one arithmetic.

    Attributes:
        kind: The kind, "CONV_2D".
        dtype: The arithmetic, "int8->int8".
    """

    kind: str
    dtype: str
    operators: int
    macs: int
    in_precision: bool


class Lint(Record):
    """What the runtime really executes.

    Attributes:
        ops: "OP:dtype" -> a count, after the runtime's own optimizer.
        findings: What is broken.
        work: The multiply-accumulates, by kind of operator.
        share: The part of them that runs in the promised precision; of operators where nothing multiplies, None where
            nothing computes.
        weight_share: The part of the stored weight bytes that is held in it.
        called: What the file is: "int8", or "mixed, 38 % of the work in integers" below the profile's share.
        notes: What a user must know though nothing is broken.
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

    Attributes:
        bound_holds: Whether 255 * (largest sum of two adjacent |weights|) fits int16, so that no pair of products can
            saturate on any machine.
        agreement: The share of equal answers of the two runs on this machine.
        max_abs_error: The largest difference of the two runs on this machine.
        can_saturate: Whether sums of this file can saturate on the level of machine that will serve it.
    """

    bound_holds: bool
    agreement: float | None
    max_abs_error: float
    samples: int
    conclusion: str
    can_saturate: bool


class LengthProof(Record):
    """What a file with free axes keeps to the float model at one length of them.

    Attributes:
        lengths: Axis -> its length.
        snr_db: Of each output; None for whole numbers, and where there is no signal.
    """

    lengths: dict[str, int]
    snr_db: tuple[float | None, ...]


class Verdict(Record):
    """What executing the artifact in its runtime proved.

    Attributes:
        parity: The comparison with the float model.
        program_parity: The comparison with the float program that pruning, training and the like left, on the samples kept
            (32 at most): what quantizing and converting did to it. None where no such step was taken.
        samples: How many samples the metric saw, 0 where they were not counted; `parity` may be of fewer.
        promised_db: What each output of the quantized program keeps to float, in dB.
        kept_db: What each output of the file keeps on the same samples, in dB.
        lengths: What it keeps at several lengths of its free axes.
        flips: The samples whose class changed; None where the metric is no share of right answers.
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
    lengths: tuple[LengthProof, ...] = ()
    flips: Flips | None = None

    @property
    def drop(self) -> float:
        """How far the metric fell below the float model's."""
        return self.float_metric - self.metric

    @property
    def scored(self) -> int:
        """How many samples the metric saw."""
        return self.samples or self.parity.samples


class LayerDegradation(Record):
    """One operator of the candidate's program, and how far its output is from what it is compared with.

    Where the tensor holds infinity or NaN, both ratios are -200 and the other figures None. Steps are quantization steps of
    an integer tensor.

    Attributes:
        node: Its name in the program.
        module: The torch module it came from.
        tensor: What it is called in the file.
        snr_db: Signal to error with everything before it as it really ran; None where there is no error at all.
        local_snr_db: Signal to error of the operator alone, given the right inputs; None where there is no error at all.
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
    """The channel of an output that keeps the least of its signal, beside what it is compared with.

    Attributes:
        channel: Its index, None where the output has no channels.
        lost: How many of all `channels` are below `limit_db`.
    """

    output: str
    channel: int | None
    snr_db: float
    lost: int
    channels: int
    limit_db: float


class Blame(Record):
    """Where an artifact departs from the float model.

    It is in the file or its runtime (conversion), or in the numbers (compression).

    Attributes:
        conversion: The artifact against the candidate's program, in the order of execution.
        compression: That program against float, in the order of execution.
        wrong_operator: The first row of `conversion` out of tolerance, if any.
        degraded_layer: The first row of `compression` out of tolerance, if any.
        skip: The option that leaves the degraded layer in float.
        matched: How tensors of the file were found to be those of the program.
        weakest: The channel of the candidate's program that keeps the least to float, None where nothing was quantized.
    """

    runtime: str
    samples: int
    conversion: tuple[LayerDegradation, ...]
    compression: tuple[LayerDegradation, ...]
    wrong_operator: LayerDegradation | None
    degraded_layer: LayerDegradation | None
    skip: str
    matched: str
    conclusion: str
    doubts: tuple[str, ...] = ()
    weakest: ChannelDegradation | None = None


class Measurement(Record):
    """The runner's interleaved A/B of the artifact against the float file of the same runtime, on one thread.

    Attributes:
        cpu_ratio: CPU time of the artifact / CPU time of float: the median over rounds.
        cpu_ratio_low: The lower end of the 95 % interval of that median.
        cpu_ratio_high: The upper end of the 95 % interval of that median.
        peak_memory_bytes: VmHWM of a fresh process.
        on_target: Whether the machine that measured is one that the target admits.
        faster_than_serving_isa: Whether it is, but multiplies int8 faster than the level that will serve, so that it can
            refuse but not vouch.
        model_memory_bytes: VmHWM less what the process held before it imported the runtime.
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
