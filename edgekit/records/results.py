"""What executing and measuring an artifact found: verdict, layer blame, measurement."""

from edgekit.records._base import Record
from edgekit.records.emulated import EmulatedRun
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
        rounds_wall_s: Wall seconds of one inference, the mean of each round, in their order.
        memory_phases_bytes: The highest resident memory in each phase of a fresh process: baseline, import, load,
            first_inference, warmup.
        emulated: The file on emulated CPUs, where that was asked for; no time is among it.
        measured: When, in UTC: a later run may take it over.
        calm: Whether the runner saw nothing that disturbed it.
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
    measured: str = ""
    calm: bool = False
    doubts: tuple[str, ...] = ()
    rounds_wall_s: tuple[float, ...] = ()
    float_rounds_wall_s: tuple[float, ...] = ()
    memory_phases_bytes: dict[str, int] = {}
    float_memory_phases_bytes: dict[str, int] = {}
    emulated: tuple[EmulatedRun, ...] = ()
