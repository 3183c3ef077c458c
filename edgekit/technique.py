"""The table of techniques: what the plan must know of each, without importing one.

A technique is a file of `edgekit/techniques` and a row here. Its row says what it takes and what it gives; a recipe is a chain of
such steps, executed in the order written, and one whose `gives` does not fit the next `takes` is refused when it is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, get_args

from edgekit.errors import UserError
from edgekit.records import Precision, Step

Need = Literal["calibration", "training", "tensorflow"]
Form = Literal[
    "float program", "quantized program", "half-precision program", "SavedModel", "ONNX file", "file"
]
Mends = Literal["anything", "accuracy", "cost", "size"]


@dataclass(frozen=True, kw_only=True)
class Technique:
    """One row of the table.

    Attributes:
        name: The name of its file in `edgekit/techniques`.
        takes: The forms of the model that it works on.
        gives: The form that it leaves for the next step, or for the exporter; "file" leaves nothing for a next step.
        precision: The precision of a recipe that ends with it.
        needs: What the task must bring.
        scores: Whether it asks the task's metric, or trains: its result depends on the task's code.
        shared: Whether its result knows of no target: it is made once for all targets that ask for the same.
        keeps_weights: Whether every weight stays, in the width of its precision; other techniques may leave some out.
        at_export: Whether there is nothing to compute before the exporter, which reads the recipe's precision: no stage is
            run.
        by_tensorflow: Whether TensorFlow's own converter does it, from the Keras model or SavedModel as the task gave it.
        of_modules: Whether it takes the layers of a torch module apart, which those of Keras hide.
        between_operators: Whether it rounds between operators of the graph, and so does not reach into a recurrent cell,
            which is one operator.
        ranges_at_run_time: Whether the ranges of activations are found at run time: inputs and outputs stay float.
        makes_zeros: Whether the zeros of its weights are intended, so that later steps keep them.
        mends: What other options of it can still mend where one attempt broke a limit.
        layer_times: Whether the cost of each layer in integers and in float is measured for it, where the target's machine
            is here.
        trains: Whether it trains, always.
        timed_as: Of one that trains, what makes a file as fast without: another technique, or "" for none in its place; None where
            nothing does.
        timed_scope: The value of its option `scope` for which widths of layers are timed on the target.
        always_listed: Whether a plan says why it is left out, where no ladder of the profile names it.
    """

    name: str
    takes: tuple[Form, ...] = ("float program",)
    gives: Form = "float program"
    precision: Precision = "float32"
    needs: tuple[Need, ...] = ()
    scores: bool = False
    shared: bool = False
    keeps_weights: bool = False
    at_export: bool = False
    by_tensorflow: bool = False
    of_modules: bool = False
    between_operators: bool = False
    ranges_at_run_time: bool = False
    makes_zeros: bool = False
    mends: Mends = "anything"
    layer_times: bool = False
    trains: bool = False
    timed_as: str | None = None
    timed_scope: str = ""
    always_listed: bool = False


_ROWS = (
    # float programs of float programs
    Technique(name="prune", scores=True, shared=True, of_modules=True, mends="cost", timed_scope="latency"),
    Technique(name="distill", scores=True, shared=True, needs=("training",), trains=True, timed_as=""),
    Technique(name="pretrain", scores=True, shared=True, needs=("training",), trains=True, timed_as=""),
    Technique(name="sparsify", scores=True, shared=True, makes_zeros=True),
    Technique(name="lottery", scores=True, shared=True, needs=("training",), makes_zeros=True, trains=True),
    Technique(name="palettize", scores=True, shared=True, mends="size"),
    Technique(name="weight_only", scores=True, shared=True, mends="size"),
    Technique(name="binarize", scores=True, shared=True, needs=("training",), trains=True),
    Technique(name="lowrank", scores=True, shared=True),
    # integers
    Technique(
        name="ptq",
        takes=("float program", "ONNX file"),
        gives="quantized program",
        precision="int8",
        needs=("calibration",),
        keeps_weights=True,
        between_operators=True,
        mends="accuracy",
        always_listed=True,
    ),
    Technique(
        name="mixed",
        gives="quantized program",
        precision="int8",
        needs=("calibration",),
        scores=True,
        keeps_weights=True,
        between_operators=True,
        layer_times=True,
    ),
    Technique(
        name="qat",
        gives="quantized program",
        precision="int8",
        needs=("calibration", "training"),
        scores=True,
        keeps_weights=True,
        between_operators=True,
        trains=True,
        timed_as="ptq",
        always_listed=True,
    ),
    Technique(
        name="dynamic",
        takes=("float program", "ONNX file"),
        gives="quantized program",
        precision="int8",
        keeps_weights=True,
        ranges_at_run_time=True,
        always_listed=True,
    ),
    Technique(
        name="full_integer",
        gives="file",
        precision="int8",
        needs=("calibration",),
        keeps_weights=True,
    ),
    Technique(
        name="ptq_tensorflow",
        takes=("SavedModel",),
        gives="file",
        precision="int8",
        needs=("tensorflow", "calibration"),
        by_tensorflow=True,
        keeps_weights=True,
    ),
    # half precision, and none
    Technique(
        name="fp16",
        takes=("float program", "SavedModel", "ONNX file"),
        gives="file",
        precision="float16",
        keeps_weights=True,
        at_export=True,
        always_listed=True,
    ),
    Technique(
        name="mixed_half",
        gives="half-precision program",
        precision="float16",
        needs=("calibration",),
        scores=True,
        keeps_weights=True,
    ),
    Technique(
        name="float32",
        takes=("float program", "SavedModel", "ONNX file"),
        gives="file",
        keeps_weights=True,
        at_export=True,
        always_listed=True,
    ),
)

TECHNIQUES = MappingProxyType({row.name: row for row in _ROWS})


def of(step: Step | str) -> Technique:
    """Returns the row of a step or a name.

    Raises:
        KeyError: `check_chain` would refuse the name.
    """
    return TECHNIQUES[step if isinstance(step, str) else step.technique]


def needs_of(names: Sequence[str]) -> tuple[Need, ...]:
    """Returns what a task must bring for steps of these names, each need once."""
    asked = {need for name in names for need in of(name).needs}
    return tuple(need for need in get_args(Need) if need in asked)


def times_widths(step: Step) -> bool:
    """Whether a step chooses widths for time, from what they cost on the target."""
    scope = of(step).timed_scope
    return bool(scope) and step.options.get("scope", "") == scope


def check_chain(names: Sequence[str]) -> None:
    """Checks that each step takes what the one before gives.

    Args:
        names: Known techniques, in the order written.

    Raises:
        UserError: Two neighbours do not fit; the error names the first such pair.
    """
    for problem in _misfits(names):
        raise UserError(problem)


def _misfits(names: Sequence[str]) -> Iterator[str]:
    for early, late in pairwise(map(of, names)):
        if early.gives in late.takes:
            continue
        takes = " or ".join(f"{'an' if each.startswith('ONNX') else 'a'} {each}" for each in late.takes)
        if late.by_tensorflow:
            yield (
                f"{late.name} converts the task's own Keras model or SavedModel, without what {early.name} did to it; "
                f"leave {early.name} out, or end with a technique that takes a float program, such as ptq"
            )
        elif early.at_export:
            yield (
                f"{early.name} is done by the exporter and nothing can follow it; put it last, or leave it out before {late.name}"
            )
        elif "float program" in late.takes and late.gives == "float program":
            yield f"{late.name} needs a float program; put it before {early.name}"
        else:
            yield f"{late.name} takes {takes}, and {early.name} gives a {early.gives}; keep one of the two"
