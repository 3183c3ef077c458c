"""Post-training quantization: integers from a trained float model and a few unlabelled inputs.

There is no training. A tensor r is stored as q = clamp(round(r / s) + z). The scale s and the zero point z
are fixed, one pair per tensor for activations and one per output channel for weights. A convolution then runs
on integers, sum (q_x - z_x) q_w in 32 bits, and one multiplication brings it to the scale of its output. The
range of weights is known; that of activations must be observed: 100 typical inputs pass through the model
while an observer on every quantized edge collects the range (`edgekit.quant.estimators`). Batch norms are
first merged into the convolution before them.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (arXiv:1712.05877); Krishnamoorthi 2018, "Quantizing deep convolutional networks"
(arXiv:1806.08342): per-channel weights with 8-bit activations stay within 1 to 2 % of float for most
networks.

Cost: `batches` float inferences and as many histogram passes, seconds to a minute; memory does not grow with
the number of batches. It can lose accuracy in depthwise networks with wide channel ranges, which qat
(training) recovers.
"""

import hashlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import torch
from msgspec import Meta
from torch.fx import GraphModule

from edgekit.errors import UserError
from edgekit.quant import bias, not_numbers, proven
from edgekit.quant import program as programs
from edgekit.quant.calibrate import Batch, a_few, calibrate
from edgekit.quant.calibration_graph import observers, observing
from edgekit.quant.equalize import Equalized, equalize
from edgekit.quant.fold import observed
from edgekit.quant.observations import observed_once
from edgekit.quant.quantizer import ProfileQuantizer
from edgekit.quant.simulate import Simulation
from edgekit.records import Candidate, Settings
from edgekit.sparse.masks_of_program import is_sparse
from edgekit.techniques import _onnx_ranges
from edgekit.techniques._figures import noted
from edgekit.techniques._ptq_trials import MOVED, Calibrated, Trial, choose
from edgekit.techniques._quantized_program import converted, written

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task


FILLED = "gptq rounding moved some of the weights that were zero: a pattern such as 2:4 may no longer hold"


Estimator = Annotated[
    Literal["entropy", "minmax", "moving_average", "mse", "percentile"],
    Meta(description="how the ranges of activations are found (edgekit.quant.estimators)"),
]
CalibrationBatches = Annotated[int, Meta(ge=1, description="calibration batches to use, at most")]
Skip = Annotated[
    str, Meta(description="layers that stay float: node names or module paths, separated by commas")
]


class Options(Settings):
    """How ranges are found, and what is tried besides and kept where it measurably helps."""

    estimator: Estimator = "mse"
    batches: CalibrationBatches = 100
    equalize: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="whether channels are equalized across layers (edgekit.quant.equalize); auto tries it where "
            "weights have one scale for the whole tensor, and with rounding gptq"
        ),
    ] = "auto"
    bias_correction: Annotated[
        Literal["auto", "off"],
        Meta(
            description="whether biases are corrected for the mean error of the weights (edgekit.quant.bias)"
        ),
    ] = "auto"
    rounding: Annotated[
        Literal["nearest", "gptq"],
        Meta(
            description="how weights are rounded: to nearest, or by second moments (edgekit.quant.rounding)"
        ),
    ] = "nearest"
    skip: Skip = ""


class _Float(NamedTuple):
    """A float graph, zeros in the shape of its inputs, and what it computes before anything is done to it."""

    graph: GraphModule
    like: tuple[torch.Tensor, ...]
    before: proven.Reference


def calibrated(
    candidate: Candidate, task: "Task", options: Options, context: "Context | None" = None
) -> Calibrated:
    """Prepares the candidate's program for integers and runs the calibration batches through it.

    Args:
        candidate: The candidate.
        task: The task with its calibration batches.
        options: How ranges are found.
        context: Where it is done, if that is known.

    Raises:
        TaskError: The calibration batches do not fit.
        UserError: The candidate has no `quant`.
        ConversionError: The preparation changes what the float graph computes.
    """
    given = _float_graph(candidate, context)
    return _calibrated(given, candidate, task, options, _place(candidate, options, context, "plain"))


def equalized(
    candidate: Candidate, task: "Task", options: Options, context: "Context | None" = None
) -> tuple[Equalized, Calibrated | None]:
    """Does the same for the equalized graph, which is None if there are no layers to equalize."""
    given = _float_graph(candidate, context)
    done = equalize(given.graph, given.before)
    if not done.pairs:
        return done, None
    return done, _calibrated(
        given, candidate, task, options, _place(candidate, options, context, "equalized")
    )


def _place(candidate: Candidate, options: Options, context: "Context | None", graph: str) -> Path | None:
    """Returns the file for what is observed, named by all that it depends on; None where the run keeps none."""
    quant = candidate.quant
    if context is None or not context.observed or quant is None:
        return None
    grid = (quant.activation_dtype, quant.symmetric_activations, quant.integer_io, quant.products)
    asked = (options.estimator, options.batches, options.bias_correction, options.skip)
    name = hashlib.sha256(repr((candidate.program, graph, grid, asked)).encode()).hexdigest()[:16]
    return Path(context.observed) / f"{name}.safetensors"


def _float_graph(candidate: Candidate, context: "Context | None") -> _Float:
    """The program itself is released, and with it what folding replaces."""
    program = programs.load(candidate.program)
    graph, like = program.module(), programs.user_inputs(program)
    return _Float(graph, like, proven.of_metric(graph, like, None if context is None else context.traced))


def _calibrated(
    given: _Float, candidate: Candidate, task: "Task", options: Options, place: Path | None
) -> Calibrated:
    if candidate.quant is None:
        raise UserError("ptq needs a target with a [quant] table; this candidate has none")
    skip = tuple(part.strip() for part in options.skip.split(",") if part.strip())
    inputs = partial(a_few, task.calibration or (), given.like)
    quantizer = ProfileQuantizer(candidate.quant, options.estimator, skip=skip, samples=inputs)
    model = observed(given.graph, quantizer, given.before)
    given.before.demand(Simulation(model, rounds=False).run, "preparing for integers")
    watchers = bias.watch(model) if options.bias_correction == "auto" else []
    batches, runs = observed_once(
        model, place, lambda: calibrate(observing(model), task.calibration or (), given.like, options.batches)
    )
    return Calibrated(model=model, watchers=watchers, like=given.like, batches=batches, runs=runs)


def decided(
    candidate: Candidate, task: "Task", options: Options, context: "Context | None" = None
) -> tuple[Calibrated, Trial]:
    """Returns the calibrated graph with everything that measurably helps it: what `apply` converts."""
    found = calibrated(candidate, task, options, context)
    tries = _tries_equalizing(candidate, options)
    other = partial(equalized, candidate, task, options, context) if tries else None
    return found, choose(found, task.calibration or (), other, options.rounding == "gptq")


def _ignored(model: GraphModule) -> tuple[str, ...]:
    """Says where calibration met numbers that are none."""
    met = [node for node, observer in observers(model).items() if getattr(observer, "ignored", 0)]
    if not met:
        return ()
    source = met[0].args[0]
    name = f"{source.target}".removeprefix("aten.").partition(".")[0]
    more = f" and {len(met) - 1} other tensors" if len(met) > 1 else ""
    return (
        f"calibration met NaN or infinite numbers in what {name} of {programs.origin(source)} gives{more}: they are left out of the "
        "ranges, and integers hold other numbers there; right where the model masks them later",
    )


def _masked(model: GraphModule, samples: Callable[[], list[Batch]]) -> tuple[str, ...]:
    """Says where numbers that are none never reach a range: they are masked before one."""
    word = not_numbers.said(model, samples)
    return (word,) if word else ()


def _tries_equalizing(candidate: Candidate, options: Options) -> bool:
    """It costs a second calibration.

    With a scale for each channel of the weights it gained nothing on three networks, so "auto" tries it only
    in recipes that take their time.
    """
    if options.equalize != "auto":
        return options.equalize == "on"
    per_tensor = candidate.quant is not None and candidate.quant.granularity == "per_tensor"
    return per_tensor or options.rounding == "gptq"


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Calibrates the candidate and writes the quantized program, weights unfolded, to program.pt2.

    Raises:
        TaskError: The calibration batches do not fit.
        UserError: The candidate has no `quant`.
        ConversionError: A step changes what the float graph computes.
    """
    if candidate.onnx:
        return _onnx_ranges.quantize(candidate, task, options.estimator, options.batches, context)
    start = time.perf_counter()
    found, trial = decided(candidate, task, options, context)
    figures = {
        "calibration batches": (found.batches, "count"),
        "calibration runs": (found.runs, "count"),
        **trial.figures,
    }
    odd = _ignored(trial.model) or _masked(trial.model, partial(a_few, task.calibration or (), found.like))
    done = written(candidate, converted(trial.model), found.like, Path(context.work), "ptq", options.skip)
    done = msgspec.structs.replace(done, doubts=(*done.doubts, *odd))
    if trial.figures.get(MOVED, (0, ""))[0] and is_sparse(candidate):
        done = msgspec.structs.replace(done, doubts=(*done.doubts, FILLED))
    return noted(done, "ptq", {**figures, "seconds": (time.perf_counter() - start, "s")})
