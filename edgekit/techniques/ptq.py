"""Post-training quantization: integers from a trained float model and a few unlabelled inputs, without training.

A tensor r is stored as q = clamp(round(r / s) + z): s, the scale, and z, the zero point, are fixed per tensor for
activations and per output channel for weights. A convolution then runs on integers, sum (q_x - z_x) q_w in 32 bit, and
one multiplication brings it to the scale of its output. Weights give their range away; activations must be watched:
100 typical inputs pass through the model while an observer on every quantized edge collects the range
(`edgekit.quant.estimators`). Batch norms are first merged into the convolution before them.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(arXiv:1712.05877); Krishnamoorthi 2018, "Quantizing deep convolutional networks" (arXiv:1806.08342): per-channel
weights with 8-bit activations stay within 1 to 2 % of float for most networks.

Cost: `batches` float inferences and as many histogram passes, seconds to a minute; memory does not grow with the number
of batches. What it can lose: depthwise networks with wide channel ranges, which qat (training) wins back.
"""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import torch
from msgspec import Meta
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

from edgekit.errors import UserError
from edgekit.quant import bias, proven, rules
from edgekit.quant import program as programs
from edgekit.quant.boundaries import float_interfaces
from edgekit.quant.calibrate import a_few, calibrate
from edgekit.quant.calibration_graph import observing
from edgekit.quant.equalize import Equalized, equalize
from edgekit.quant.fold import observed
from edgekit.quant.program import origin
from edgekit.quant.quantizer import ProfileQuantizer, count_layers
from edgekit.quant.simulate import Simulation
from edgekit.records import Candidate, Figure, FloatLayer, Settings, Traced
from edgekit.sparse.masks_of_program import is_sparse
from edgekit.techniques._ptq_trials import MOVED, Calibrated, Trial, choose

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
    """A float graph, zeros in the shape of its inputs, and what it answers before anything is done to it."""

    graph: GraphModule
    like: tuple[torch.Tensor, ...]
    before: proven.Reference


def calibrated(
    candidate: Candidate, task: "Task", options: Options, traced: Traced | None = None
) -> Calibrated:
    """Prepares `candidate.program` for integers and shows it the calibration batches.

    Raises TaskError for calibration batches that do not fit, UserError for a candidate without `quant`, ConversionError where
    preparing changes what the float graph computes.
    """
    return _calibrated(_float_graph(candidate, traced), candidate, task, options)


def equalized(
    candidate: Candidate, task: "Task", options: Options, traced: Traced | None = None
) -> tuple[Equalized, Calibrated | None]:
    """The same for the equalized graph; None where it has no layers to equalize."""
    given = _float_graph(candidate, traced)
    done = equalize(given.graph, given.before)
    return done, _calibrated(given, candidate, task, options) if done.pairs else None


def _float_graph(candidate: Candidate, traced: Traced | None) -> _Float:
    """The program itself is let go, and with it what folding replaces."""
    program = programs.load(candidate.program)
    graph, like = program.module(), programs.user_inputs(program)
    return _Float(graph, like, proven.of_metric(graph, like, traced))


def _calibrated(given: _Float, candidate: Candidate, task: "Task", options: Options) -> Calibrated:
    if candidate.quant is None:
        raise UserError("ptq needs a target with a [quant] table; this candidate has none")
    skip = tuple(part.strip() for part in options.skip.split(",") if part.strip())
    inputs = partial(a_few, task.calibration or (), given.like)
    quantizer = ProfileQuantizer(candidate.quant, options.estimator, skip=skip, samples=inputs)
    model = observed(given.graph, quantizer, given.before)
    given.before.demand(Simulation(model, rounds=False).run, "preparing for integers")
    watchers = bias.watch(model) if options.bias_correction == "auto" else []
    batches, runs = calibrate(observing(model), task.calibration or (), given.like, options.batches)
    return Calibrated(model=model, watchers=watchers, like=given.like, batches=batches, runs=runs)


def decided(
    candidate: Candidate, task: "Task", options: Options, traced: Traced | None = None
) -> tuple[Calibrated, Trial]:
    """The calibrated graph with what measurably helps it, still in float: what `apply` converts."""
    found = calibrated(candidate, task, options, traced)
    other = (
        (lambda: equalized(candidate, task, options, traced))
        if _tries_equalizing(candidate, options)
        else None
    )
    return found, choose(found, task.calibration or (), other, options.rounding == "gptq")


def _tries_equalizing(candidate: Candidate, options: Options) -> bool:
    """It costs a second calibration. With a scale for each channel of the weights it gained nothing on three nets, so
    that "auto" leaves it to the recipe that takes its time."""
    if options.equalize != "auto":
        return options.equalize == "on"
    per_tensor = candidate.quant is not None and candidate.quant.granularity == "per_tensor"
    return per_tensor or options.rounding == "gptq"


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Calibrates `candidate.program` and writes the quantized one to program.pt2 of the work folder, weights unfolded.

    Raises what `calibrated` raises.
    """
    start = time.perf_counter()
    found, trial = decided(candidate, task, options, context.traced)
    figures = {
        "calibration batches": (found.batches, "count"),
        "calibration runs": (found.runs, "count"),
        **trial.figures,
    }
    done = written(candidate, converted(trial.model), found.like, Path(context.work), "ptq", options.skip)
    if trial.figures.get(MOVED, (0, ""))[0] and is_sparse(candidate):
        done = msgspec.structs.replace(done, doubts=(*done.doubts, FILLED))
    return noted(done, "ptq", {**figures, "seconds": (time.perf_counter() - start, "s")})


def converted(prepared: GraphModule) -> GraphModule:
    """The quantized graph, weights unfolded. Norms that no layer took in are hidden meanwhile: where torchao sees one it
    searches the graph for pairs of layer and norm, 20 s for four layers, and there are none left."""
    for node in programs.calls(prepared):
        if node.target in rules.NORM:
            node.target = _norm
    model = convert_pt2e(prepared, fold_quantize=False)
    for node in programs.calls(model):
        if node.target is _norm:
            node.target = rules.ATEN.batch_norm.default
    model.recompile()
    return model


def _norm(*args: object) -> torch.Tensor:
    """Stands for a batch norm in a graph that is not run."""
    raise NotImplementedError


def written(
    candidate: Candidate, model: GraphModule, like: tuple[torch.Tensor, ...], work: Path, step: str, skip: str
) -> Candidate:
    """The candidate with a converted graph as its program: program.pt2 in `work`, weights unfolded; what stayed float."""
    quantized, left = count_layers(model)
    path = work / "program.pt2"
    programs.save(programs.export(model, like), path)
    doubts: tuple[str, ...] = (
        ()
        if quantized
        else ("no layer was quantized: the model has no convolution or linear that the quantizer knows",)
    )
    if candidate.quant is not None and candidate.quant.integer_io:
        doubts += float_interfaces(model)
    done = msgspec.structs.replace(
        candidate,
        program=str(path),
        float_layers=tuple(_float_layer(node, skip) for node in left),
        doubts=(*candidate.doubts, *doubts),
    )
    counts = {"layers quantized": (quantized, "count"), "layers left float": (len(left), "count")}
    return noted(done, step, counts)


def noted(candidate: Candidate, step: str, figures: Mapping[str, tuple[float, str]]) -> Candidate:
    """The candidate with more figures of a step."""
    more = (
        Figure(step=step, name=name, value=float(value), unit=unit) for name, (value, unit) in figures.items()
    )
    return msgspec.structs.replace(candidate, figures=(*candidate.figures, *more))


def _float_layer(node: Node, skip: str) -> FloatLayer:
    """Of a layer that the quantizer left alone."""
    operator = str(node.target).removeprefix("aten.")
    reason = "asked for by skip" if skip else f"the quantizer has no rule that makes {operator} integers here"
    return FloatLayer(name=node.name, origin=origin(node) or node.name, macs_ratio=None, reason=reason)
