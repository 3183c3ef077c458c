"""What a run is given, and the plan made of it: Task + Target -> Plan."""

import math
from collections.abc import Iterable
from typing import Any, Literal

from edgekit.errors import UserError
from edgekit.records._base import Record

Precision = Literal["int8", "float16", "float32"]
Scalar = bool | int | float | str
Scheme = Literal["static", "dynamic"]
Kind = Literal["convolution", "linear", "recurrent", "attention"]


class OutOfRange(UserError, ValueError):
    """A limit that no artifact could meet, or that is no number."""


class Budget(Record):
    """What an artifact must keep to be accepted. `None` means: not limited.

    max_drop: the metric may fall by so much below the float model's, in the metric's own unit; 0 = not at all.
    min_speedup: float time / artifact time in the same runtime must reach this; 1.0 = not slower than float,
    0 = speed does not count. min_agreement: the share of samples that must get the float model's answer, for a model
    whose first output holds class scores. min_snr_db: what every output must keep to float, in place of the floor's own limit
    (`edgekit.ladder.floor`); floor "off": nothing below the metric is looked at. The other limits must be above 0. Raises
    OutOfRange, a UserError.
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
    """One input or output. `scale` and `zero_point` only where the file holds integers: real = (q - zero_point) * scale."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class Quant(Record):
    """The arithmetic of an integer target, what the quantizer reads.

    integer_io: input and output are to be integers too. What stands there is quantized, with the integer kernels that a
    runtime of whole networks in integers has: softmax, log_softmax, L2 normalization, sub, clamp, resize.
    """

    activation_dtype: Literal["int8", "uint8"]
    weight_bits: int
    granularity: Literal["per_channel", "per_tensor"]
    symmetric_activations: bool
    integer_io: bool = False

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


class Macs(Record):
    """What the multiply-accumulates of one inference are made of: `count` of them, and the share of each kind.

    linear: products with stored weights outside cells. recurrent: LSTM, GRU and RNN cells. attention: products of two
    activations. A model without any has count 0 and no shares.
    """

    count: int
    convolution: float = 0.0
    linear: float = 0.0
    recurrent: float = 0.0
    attention: float = 0.0

    def share(self, kinds: Iterable[Kind]) -> float:
        return sum(getattr(self, kind) for kind in set(kinds))


class TaskFacts(Record):
    """What the plan must know of a task, without its code or data.

    torch: whether the model becomes a torch program; a SavedModel does not. tensorflow: whether TensorFlow's own
    converter has something to start from, a Keras model or a SavedModel. macs: None where the model was not traced.
    """

    name: str
    calibration: bool
    training: bool
    torch: bool = True
    tensorflow: bool = False
    macs: Macs | None = None
