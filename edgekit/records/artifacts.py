"""What is made of a model: the traced program, candidates, artifacts."""

from typing import Literal

from edgekit.records._base import Record
from edgekit.records.inputs import Precision, Preprocessing, Quant, Recipe, Scheme, TaskFacts, TensorSpec


class Traced(Record):
    """The float model as one exported program, with what it answers: the reference for everything after it.

    program: a torch.export file. predictions: an .npz that maps the hash of each input of the metric to the
    float model's output. classes: the first output holds class scores. questions: an .npz of inputs of the metric, some of
    them, by the same hash. samples_file: an .npz with input_i and output_i, the first samples of the metric and what the float model answered.
    fingerprint: what the model, the data and the task's code are -> a hash of their content. weights: numbers in the
    weight tensors that the program uses, without biases and the like. tensorflow: the `.keras` file or SavedModel folder
    that TensorFlow's converter can start from. program and tensorflow are "" where there is none.
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
    tensorflow: str = ""
    classes: bool = False
    questions: str = ""


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


class WidthRow(Record):
    """CPU seconds of some layers by the width of the group of channels between them. micro: the layers, in words."""

    micro: str
    widths: tuple[int, ...]
    cpu_s: tuple[float, ...]


class WidthTable(Record):
    """What widths cost on a target, and what the whole network takes; no rows and the reason where that cannot be told.

    conditions: runtime, version, machine and the like: where the figures hold. base_s: of the whole network in the
    precision of the rows, float_s: in float. entries: figures measured for this table, the others were kept from
    before. correction: measured over foretold of an earlier plan by this table.
    """

    conditions: dict[str, str]
    rows: tuple[WidthRow, ...]
    base_s: float
    float_s: float
    entries: int = 0
    wall_s: float = 0.0
    correction: float = 1.0
    reason: str = ""


class Candidate(Record):
    """A model after the steps of a recipe: an exported program on disk, ready to be lowered.

    scheme: where an integer candidate gets its ranges, from the program ("static") or from the runtime, inference by
    inference ("dynamic": the program is still float). float_layers: those of an integer candidate that stay float.
    saved_model: the folder that TensorFlow's converter lowers in place of the program, with the inputs in the file
    `calibration` for its ranges. pruned: the folder that rebuilds the task's module in the shapes of the program, where
    one was pruned; unpruned: the program that this pruning started from. student: the reference of the module that the program is of,
    where it took the place of the task's. promised_db: what each output of a quantized program keeps to its float program, which its
    file is held to (`edgekit.trace.promise`).
    """

    program: str
    recipe: Recipe
    quant: Quant | None = None
    scheme: Scheme = "static"
    saved_model: str = ""
    calibration: str = ""
    pruned: str = ""
    unpruned: str = ""
    student: str = ""
    promised_db: tuple[float | None, ...] = ()
    float_layers: tuple[FloatLayer, ...] = ()
    figures: tuple[Figure, ...] = ()
    doubts: tuple[str, ...] = ()


class Artifact(Record):
    """The exported file (a folder for Core ML). `sha256` covers the content, see edgekit_runner.artifact.

    scheme: as the candidate's. float_layers: how many layers of an integer file compute in float, by choice or for want
    of a kernel. compressed_bytes: what a download takes, "gzip" and "zstd" -> bytes; empty where nobody looked.
    """

    path: str
    format: str
    precision: Precision
    size_bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layout: Literal["NCHW", "NHWC", "as the model"]
    toolchain: dict[str, str]
    scheme: Scheme = "static"
    float_layers: int = 0
    compressed_bytes: dict[str, int] = {}
    doubts: tuple[str, ...] = ()
