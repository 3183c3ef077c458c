"""What a run is given, and the plan made of it: Task + Target -> Plan."""

import math
from collections.abc import Iterable
from typing import Any, Literal

from edgekit.records._base import Record
from edgekit.records.measure import OutOfRange

Precision = Literal["int8", "float16", "float32"]
Scalar = bool | int | float | str
Scheme = Literal["static", "dynamic"]
Kind = Literal["convolution", "linear", "recurrent", "attention"]


class Budget(Record):
    """What an artifact must keep to be accepted. `None` means: not limited.

    Attributes:
        max_drop: How far the metric may fall below the float model's, in the metric's own unit; 0 is not at all.
        min_speedup: Float time / artifact time in the same runtime must reach this; 1.0 is not slower than float, 0 means
            that speed does not count.
        max_size_bytes: The largest file, above 0.
        max_latency_s: The longest inference, above 0.
        max_memory_bytes: The highest peak of memory, above 0.
        min_agreement: How far answers must be the float model's, from 0 to 1: for class scores the share of samples with the
            same best class, for other outputs what their own measure says (`Measure`).
        min_snr_db: What every output must keep to float, in dB, in place of the floor's own limit (`edgekit.ladder.floor`).
        floor: "off" means that nothing but the metric is looked at.

    Raises:
        OutOfRange: A limit is out of range, or is not a number; it is a UserError.
    """

    max_drop: float = 0.01
    min_speedup: float = 1.0
    max_size_bytes: int | None = None
    max_latency_s: float | None = None
    max_memory_bytes: int | None = None
    min_agreement: float | None = None
    min_snr_db: float | None = None
    floor: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        for name in set(self.__struct_fields__) - {"floor"}:
            self._check(name, getattr(self, name))
        if self.floor not in ("on", "off"):
            raise OutOfRange(f"budget floor is {self.floor!r}; allowed are 'on' and 'off'")
        if self.min_agreement is not None and self.min_agreement > 1:
            raise OutOfRange(f"budget min_agreement is {self.min_agreement!r}; it must be a share, at most 1")

    @staticmethod
    def _check(name: str, value: Any) -> None:
        optional = name not in ("max_drop", "min_speedup")
        if value is None and optional:
            return
        zero = not optional or name == "min_snr_db"
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < 0 or (value == 0 and not zero):
            least = "of at least 0" if zero else "above 0"
            allowed = f"a finite number {least}{', or None' if optional else ''}"
            raise OutOfRange(f"budget {name} is {value!r}; it must be {allowed}")


class TensorSpec(Record):
    """One input or output.

    Attributes:
        scale: Only where the file holds integers: real = (q - zero_point) * scale.
        zero_point: Only where the file holds integers.
        batch_axis: The axis of the samples; None where every sample has the same.
        free: The number of an axis, in text -> the name of its length, where that is chosen with every call; `shape` holds the
            length of the example.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    batch_axis: int | None = 0
    free: dict[str, str] = {}


class Quant(Record):
    """The arithmetic of an integer target, as the quantizer reads it.

    Attributes:
        integer_io: Whether inputs and outputs are to be integers too. What stands at them is then quantized, with the
            integer kernels that a runtime of whole networks in integers has: softmax, log_softmax, L2 normalization, sub,
            clamp, resize.
        products: Whether products of two activations, as attention's, are integers, too: their softmax stays float.
    """

    activation_dtype: Literal["int8", "uint8"]
    weight_bits: int
    granularity: Literal["per_channel", "per_tensor"]
    symmetric_activations: bool
    integer_io: bool = False
    products: bool = False

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
    """What the app must do to an image before the model sees it; it is written into the manifest.

    In this order: resize, crop in the centre, colours in their order, (pixel * scale - mean) / std, layout. Its arithmetic is
    `edgekit.package.image`.

    Attributes:
        mean: Per channel, or one number for all, on pixels that were scaled.
        std: As `mean`.
        labels: The class names in the order of the outputs.
        resize: Pixels of the shorter side, or (height, width); None where the app brings the right size.
        resize_mode: How pixels are interpolated.
        antialias: Whether a smaller picture averages all pixels that it covers, as Pillow does.
        crop: (height, width) of what is kept in the centre.
        color_order: Of three channels; a model with one channel takes grey.
        scale: What a pixel of 0 to 255 is multiplied with.

    Raises:
        OutOfRange: A size is not positive, or a number is not finite.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    labels: tuple[str, ...] = ()
    resize: int | tuple[int, int] | None = None
    resize_mode: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    antialias: bool = True
    crop: tuple[int, int] | None = None
    color_order: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1 / 255

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            sides = getattr(self, name)
            for side in sides if isinstance(sides, tuple) else () if sides is None else (sides,):
                if not isinstance(side, int) or side < 1:
                    raise OutOfRange(f"preprocessing {name} is {sides!r}; sides are whole numbers above 0")
        if not all(map(math.isfinite, (self.scale, *self.mean, *self.std))) or 0 in (self.scale, *self.std):
            raise OutOfRange(
                "preprocessing scale, mean and std must be finite numbers, scale and std other than 0"
            )


class Macs(Record):
    """What the multiply-accumulates of one inference are made of.

    A model without any has count 0 and no shares.

    Attributes:
        count: How many there are.
        convolution: The share of convolutions.
        linear: The share of products with stored weights outside cells.
        recurrent: The share of LSTM, GRU and RNN cells.
        attention: The share of products of two activations.
    """

    count: int
    convolution: float = 0.0
    linear: float = 0.0
    recurrent: float = 0.0
    attention: float = 0.0

    def share(self, kinds: Iterable[Kind]) -> float:
        """Returns the share of these kinds together."""
        return sum(getattr(self, kind) for kind in set(kinds))


class TaskFacts(Record):
    """What the plan must know of a task, without its code or data.

    Attributes:
        torch: Whether the model becomes a torch program; a SavedModel does not.
        tensorflow: Whether TensorFlow's own converter has something to start from, a Keras model or a SavedModel.
        onnx: Whether it is an ONNX file, which goes to the targets of ONNX by its own graph.
        operators: The kinds of its operators, once it was read.
        macs: None where the model was not traced.
    """

    name: str
    calibration: bool
    training: bool
    torch: bool = True
    tensorflow: bool = False
    onnx: bool = False
    operators: tuple[str, ...] = ()
    macs: Macs | None = None
