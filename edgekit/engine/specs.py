"""What crosses to the stages that make an artifact: trace, compress, export. Light: the parent needs no framework to write one."""

from typing import Literal

from edgekit.engine.task_source import TaskSource
from edgekit.records import (
    Artifact,
    Budget,
    Candidate,
    LayerTimes,
    Preprocessing,
    Record,
    Step,
    TaskFacts,
    TensorSpec,
    Traced,
    WidthTable,
)
from edgekit.target import Target


class TraceSpec(Record):
    """The spec of edgekit.trace.stage:trace.

    Attributes:
        cache: The folder of what earlier runs kept; "" is none.
        serves: Whether some target takes any number of samples where the task does not say; else nobody asks for it.
    """

    source: TaskSource
    work: str
    seed: int = 0
    cache: str = ""
    serves: bool = True


class FileSpec(Record):
    """A model's file."""

    path: str


class Takes(Record):
    """What a model's file says that it takes, one sample of each input."""

    inputs: tuple[TensorSpec, ...]


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


class InterfaceSpec(Record):
    """The spec of edgekit.export._app_interface:change.

    Attributes:
        artifact: The file, which is rewritten in place.
        preprocessing: What goes into the file, where it is to take an image.
        classes: The labels of a file that is to name its answer.
        numbers: What quantized inputs and outputs are to hold, "" as they do.
    """

    artifact: Artifact
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()
    numbers: Literal["", "float32", "uint8", "int8"] = ""


class OrtSpec(Record):
    """The spec of edgekit.export._ort_format:convert: an ONNX file, and the folder to write into."""

    path: str
    folder: str
    runtime_version: str


class OrtFiles(Record):
    """A file in ONNX Runtime's own format, and the operators and types that it needs."""

    path: str
    operators: str
    sha256: str
    size_bytes: int


class ExportSpec(Record):
    """The spec of edgekit.export._stage:export."""

    candidate: Candidate
    target: Target
    folder: str
