"""manifest.json: what an app build reads beside each artifact. Its JSON Schema is `edgekit schema manifest`.

Names without an own unit are those of the file: shapes as the runtime wants them, paths relative to the manifest's folder.
A field that a later version adds has a default, so that older manifests stay readable.
"""

from typing import Annotated, Literal

from msgspec import Meta

from edgekit.records._base import Record
from edgekit.records.inputs import Preprocessing, Recipe
from edgekit.records.interface import FreeAxis
from edgekit.records.results import LengthProof, Lint, Measurement, Parity
from edgekit.records.runtimes import RuntimeChoice

Layout = Literal["NCHW", "NHWC", "as the model"]
Bytes = Annotated[int, Meta(ge=0, le=2**50)]
Version = Annotated[int, Meta(ge=0, le=10_000)]
Size = Annotated[int, Meta(ge=-1, le=2**31)]
Scale = Annotated[float, Meta(gt=0, le=1e30)]
ZeroPoint = Annotated[int, Meta(ge=-(2**31), le=2**31)]
Called = Literal["int8", "float16", "float32", "mixed"]


class Model(Record):
    """The identity of the model.

    Attributes:
        name: The name of the task.
        content_version: The sha256 of the artifact: equal content, equal version.
    """

    name: str
    content_version: str


class Served(Record):
    """Where the file runs: the profile, the instruction-set level, the runtime, and what an app build must respect."""

    name: str
    isa: str
    runtime: str
    abi: tuple[str, ...] = ()
    min_ios: Version | None = None
    min_android_sdk: Version | None = None
    min_runtime: str | None = None


class File(Record):
    """One file of the folder.

    Attributes:
        path: Relative to the folder of the manifest.
        bytes: Its size on disk; for a folder, the size of all its files.
        precision: What the file is; "mixed" where it does not earn the name of its recipe.
        sha256_of: What the hash covers.
        compressed_bytes: What a download takes: "gzip" and "zstd" -> bytes.
    """

    path: str
    role: Literal["model"]
    format: str
    bytes: Bytes
    sha256: str
    precision: Called
    sha256_of: str = "file"
    compressed_bytes: dict[str, Bytes] = {}


class Normalization(Record):
    """x = (pixel * scale - mean) / std, with the scale of the preprocessing; `range` is the range of a pixel before mean and std."""

    mean: tuple[float, ...]
    std: tuple[Scale, ...]
    range: tuple[float, float] = (0.0, 1.0)


class Input(Record):
    """One input, by the name that an app passes to the runtime.

    Where it holds integers, real = (q - zero_point) * scale.

    Attributes:
        batch_axis: The axis of the samples; null where every sample has the same, as a setting.
        free: The number of an axis -> the name of its length, chosen with every call; `shape` has that of the example.
    """

    name: str
    shape: tuple[Size, ...]
    dtype: str
    scale: Scale | None = None
    zero_point: ZeroPoint | None = None
    batch_axis: int | None = 0
    free: dict[str, str] = {}
    layout: Layout = "as the model"
    normalization: Normalization | None = None


class Output(Record):
    """One output, by the name that the runtime gives it.

    Attributes:
        batch_axis: As of an input.
        labels: The names of its classes, in order.
    """

    name: str
    shape: tuple[Size, ...]
    dtype: str
    scale: Scale | None = None
    zero_point: ZeroPoint | None = None
    batch_axis: int | None = 0
    free: dict[str, str] = {}
    labels: tuple[str, ...] = ()


class Signature(Record):
    """What goes in and what comes out, in the order of forward, and the axes whose length is chosen with every call.

    Attributes:
        axes: The free axes; empty for a file of fixed shapes.
        state: Output -> the input that takes it in the next call; zeros, or what the task's example has, in the first.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    axes: tuple[FreeAxis, ...] = ()
    state: dict[str, str] = {}


class GoldenFile(Record):
    """The golden pair, and the tolerance in the unit of its outputs.

    Attributes:
        exact: Whether a machine whose fused int8 kernels saturate, as x86 without VNNI, answers otherwise: it must run the file
            without them.
    """

    path: str
    atol: Annotated[float, Meta(ge=0, le=1e6)]
    sha256: str
    exact: bool = False


class WorkShare(Record):
    """The share of the multiply-accumulates that operators of one kind do in one arithmetic."""

    kind: str
    dtype: str
    ratio: float
    in_precision: bool


class Compression(Record):
    """What the file is, by what the runtime really executes.

    Attributes:
        called: In words: "int8", or "mixed, 38 % of the work in integers".
        share_of_work_in_precision: The share of the multiply-accumulates; None where nothing computes.
        share_of_weight_bytes_in_precision: The share of the stored bytes of weights.
        float_layers: The layers that compute in float32, all others in the recipe's precision; null where that is not known.
    """

    precision: Called
    recipe: Recipe
    called: str = ""
    share_of_work_in_precision: float | None = None
    share_of_weight_bytes_in_precision: float | None = None
    work: tuple[WorkShare, ...] = ()
    float_layers: tuple[str, ...] | None = None

    def precision_of(self, layer: str) -> str:
        """The precision of one layer."""
        return "float32" if layer in (self.float_layers or ()) else self.recipe.precision


class Accuracy(Record):
    """The task's metric of the artifact in its runtime and of the float model, on `samples` samples."""

    metric: float
    float_metric: float
    samples: Annotated[int, Meta(ge=0)]
    parity: Parity
    program_parity: Parity | None = None
    lengths: tuple[LengthProof, ...] = ()


class Manifest(Record):
    """The whole file, in the order of its keys' meaning; on disk, keys are sorted.

    Attributes:
        preprocessing: What the app does to an image; its layout is the file's, as in `signature`. None where the task does not
            say: the app brings the tensor of the signature.
        toolchain: Package -> version.
        doubts: What every stage doubted, each once.
        not_measured: Limits of the budget that nothing here could decide, with the reason.
        runtimes: The file in each runtime that the target names, and the fastest; null where it names one alone.
        app_interface: How `edgekit package` changed what the file takes and gives: "image", "classifier", "float32", "uint8", "int8".
    """

    schema_version: int
    model: Model
    target: Served
    artifacts: tuple[File, ...]
    signature: Signature
    preprocessing: Preprocessing | None
    golden: GoldenFile
    compression: Compression
    accuracy: Accuracy
    lint: Lint
    toolchain: dict[str, str]
    measurement: Measurement | None = None
    doubts: tuple[str, ...] = ()
    not_measured: tuple[str, ...] = ()
    runtimes: RuntimeChoice | None = None
    app_interface: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not any(file.role == "model" for file in self.artifacts):
            raise ValueError("artifacts holds no file of role model")

    @property
    def file(self) -> File:
        """The file of the model."""
        return next(file for file in self.artifacts if file.role == "model")
