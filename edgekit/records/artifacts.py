"""What is made of a model: the traced program, candidates, artifacts."""

from typing import Literal

from edgekit.records._base import Record
from edgekit.records.inputs import Precision, Preprocessing, Quant, Recipe, Scheme, TaskFacts, TensorSpec
from edgekit.records.interface import FreeAxes, FreeAxis, Interface
from edgekit.records.layer_cost import LayerCost
from edgekit.records.measure import Measure


class Traced(Record):
    """The float model as one exported program, with its answers: the reference for everything after it.

    Attributes:
        facts: What the plan must know of the task.
        preprocessing: What the app must do to an image; None where the task does not say.
        program: A torch.export file, "" where there is none.
        predictions: An .npz that maps the hash of each input of the metric to the float model's output.
        samples_file: An .npz with input_i and output_i: the first samples of the metric and the float model's answers.
        metric: The metric of the float model.
        samples: How many samples the metric saw.
        parameters: How many parameters the model has.
        fingerprint: What the model, the data and the task's code are -> a hash of their content.
        weights: How many numbers are in the weight tensors that the program uses, without biases and the like.
        tensorflow: The `.keras` file or SavedModel folder that TensorFlow's converter can start from, "" where there is
            none.
        measures: How each output is compared with the float model's.
        questions: An .npz of some inputs of the metric, by the same hash.
        interface: The names and structures of the user's model; None where it takes and returns plain tensors.
        onnx: The user's own ONNX graph, where that is the model; "" for others.
        free: Its free axes; None where there are none.
        shapes_file: An .npz with the float model's answers at several lengths of them, input_i_k and output_i_k, "" for none.
        layers: What multiplies and adds, in the order of the program.
    """

    facts: TaskFacts
    preprocessing: Preprocessing | None
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
    measures: tuple[Measure, ...] = ()
    questions: str = ""
    interface: Interface | None = None
    free: FreeAxes | None = None
    shapes_file: str = ""
    onnx: str = ""
    layers: tuple[LayerCost, ...] = ()


class Figure(Record):
    """One measured number of a step, with its unit."""

    step: str
    name: str
    value: float
    unit: str


class FloatLayer(Record):
    """A layer that an integer candidate computes in float, and why.

    Attributes:
        name: Its node in the program.
        origin: The torch module, "features.0 (Conv2d)".
        macs_ratio: Its share of the multiply-accumulates of all layers, where that was counted.
        reason: Why it stays float.
    """

    name: str
    origin: str
    macs_ratio: float | None
    reason: str


class LayerTime(Record):
    """Seconds of one layer, including what follows it up to the next layer, in the integer and in the float file."""

    name: str
    int8_s: float
    float_s: float


class LayerTimes(Record):
    """What the runtime's own profiler says of each layer; no layers and the reason where that cannot be measured.

    Attributes:
        border_s_per_element: Seconds to turn one number of a tensor from float into an integer or back.
        runs: How many runs were timed.
        measured_on: The machine.
        reason: Why there are no layers.
    """

    layers: tuple[LayerTime, ...]
    border_s_per_element: float
    runs: int
    measured_on: str
    reason: str = ""


class WidthRow(Record):
    """CPU seconds of some layers by the width of the group of channels between them.

    Attributes:
        micro: The layers, in words.
        widths: The widths that were timed.
        cpu_s: The seconds at each width.
    """

    micro: str
    widths: tuple[int, ...]
    cpu_s: tuple[float, ...]


class WidthTable(Record):
    """What widths cost on a target, and what the whole network takes; no rows where that cannot be measured.

    Attributes:
        conditions: Where the figures hold: runtime, version, machine and the like.
        base_s: Seconds of the whole network in the precision of the rows.
        float_s: Seconds of the whole network in float.
        entries: How many figures were measured for this table; the others were kept from before.
        correction: What was measured over what was predicted, for an earlier plan by this table.
        reason: Why there are no rows.
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

    Attributes:
        scheme: Where an integer candidate gets its ranges: from the program ("static"), or from the runtime at every
            inference ("dynamic": the program is still float).
        saved_model: The folder that TensorFlow's converter lowers in place of the program.
        onnx: The ONNX graph that is written in place of the program.
        calibration: The file of inputs from which a converter takes its ranges: TensorFlow's, or the quantizer of the
            finished file; of the ranges themselves for an ONNX graph.
        activation_bits: The bits of activations that the quantizer of the finished file is asked for.
        pruned: The folder that rebuilds the task's module in the shapes of the program, where it was pruned.
        unpruned: The program that this pruning started from.
        student: The reference of the module that the program was exported from, where it took the place of the task's.
        promised_db: What each output of a quantized program keeps to its float program, in dB; the file is held to it
            (`edgekit.trace.promise`).
        float_layers: The layers of an integer candidate that stay float.
        interface: That of the traced model.
        free: The free axes that the file is to have.
        layers: What a step measured of each layer.
    """

    program: str
    recipe: Recipe
    quant: Quant | None = None
    scheme: Scheme = "static"
    saved_model: str = ""
    onnx: str = ""
    calibration: str = ""
    activation_bits: int = 8
    pruned: str = ""
    unpruned: str = ""
    student: str = ""
    promised_db: tuple[float | None, ...] = ()
    float_layers: tuple[FloatLayer, ...] = ()
    interface: Interface | None = None
    free: FreeAxes | None = None
    layers: tuple[LayerCost, ...] = ()
    figures: tuple[Figure, ...] = ()
    doubts: tuple[str, ...] = ()


class Artifact(Record):
    """The exported file (a folder for Core ML).

    Attributes:
        sha256: The hash of the content, see edgekit_runner.artifact.
        scheme: The scheme of the candidate.
        float_layers: How many layers of an integer file compute in float, by choice or for want of a kernel.
        compressed_bytes: What a download takes, "gzip" and "zstd" -> bytes; empty where it was not measured.
        free: The axes whose length is chosen with every call; `inputs` and `outputs` say where they are.
        state: Output -> the input that takes it in the next call, by the names of the file.
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
    free: tuple[FreeAxis, ...] = ()
    state: dict[str, str] = {}
    doubts: tuple[str, ...] = ()
