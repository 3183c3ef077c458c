"""What crosses between the benchmark and its child processes, and what a row of the result holds."""

from edgekit.engine.task_source import TaskSource
from edgekit.records import Artifact, Parity, Record, Scalar, Traced

# runtime -> (format of the float file that the peer reads and is timed against, suffix of what it writes)
FORMATS = {
    "onnxruntime": ("onnx", ".onnx"),
    "litert": ("tflite", ".tflite"),
    "openvino": ("onnx", ".xml"),
}


class Row(Record):
    """One way to quantize. runtime: where the result runs. settings: what the peer's module makes of the row."""

    runtime: str
    summary: str
    settings: dict[str, Scalar | None] = {}


class Job(Record):
    """One stage of one row. float_file: the float model in the format of the row's runtime. work: shared by the
    stages of a row. out: the quantized file that the last stage leaves."""

    module: str
    name: str
    stage: str
    row: Row
    source: TaskSource
    traced: Traced
    float_file: Artifact
    isa: str | None
    work: str
    out: str
    seed: int = 0


class StageRun(Record):
    """What one call cost in its fresh process, beyond imports and loading the model.

    extra_peak_bytes: VmHWM after the call less RSS before it; None where the peak cannot be reset and read.
    """

    stage: str
    wall_s: float
    cpu_s: float
    rss_before_bytes: int | None
    extra_peak_bytes: int | None
    note: str = ""


class JudgeSpec(Record):
    """A file to score with the task's own metric. emulator: a command before `python`, or empty."""

    path: str
    runtime: str
    layout: str
    traced: Traced
    source: TaskSource
    isa: str
    host_isa: str
    golden: str
    emulator: str = ""
    seed: int = 0


class Score(Record):
    """metric: of the task. parity: against the float model in torch, on the same samples."""

    metric: float
    parity: Parity


class Judged(Record):
    """native: on this machine. emulated: the same file under another CPU, outputs only."""

    native: Score
    emulated: Score | None
    doubts: tuple[str, ...]


class Timing(Record):
    """CPU time of the file / CPU time of a float file, interleaved, one thread; 95 % interval over rounds."""

    against: str
    cpu_ratio: float | None
    low: float | None
    high: float | None
    rounds: int
    cpu_s: float | None
    float_cpu_s: float | None


class Result(Record):
    """One row of the table. status: ok, missing (not installed) or failed; reason: why, or how to install it."""

    name: str
    status: str
    reason: str = ""
    summary: str = ""
    runtime: str = ""
    versions: dict[str, str] = {}
    stages: tuple[tuple[StageRun, ...], ...] = ()  # one tuple for each repetition
    size_bytes: int | None = None
    judged: Judged | None = None
    timings: tuple[Timing, ...] = ()  # against the float file of its own runtime; then the ONNX float file
    doubts: tuple[str, ...] = ()


class Settings(Record):
    """What must be the same for rows to stand in one table."""

    model: str
    photos: str
    calibrate: int
    score: int
    isa: str
    emulator: str
    rounds: int
    processes: int
    repeat: int
    seed: int


class Results(Record):
    """The JSON file. float_sizes: format -> bytes of the float file."""

    settings: Settings
    machine: dict[str, str]
    float_metric: float
    samples: int
    float_sizes: dict[str, int]
    float_sha256: str
    rows: tuple[Result, ...] = ()
