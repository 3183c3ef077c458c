"""Mixed precision: integers where they pay off and cost no accuracy, float elsewhere.

Post-training quantization turns every layer into integers. A few layers may cause most of the degradation (an
activation with an outlier channel), and some gain nothing (the first convolution, with three input channels).
This step measures both and keeps in float the set of layers that meets the budget at the least time:

1. The sensitivity of each weight and tensor: the noise that it alone adds to the outputs
   (`edgekit.quant.layer_sensitivity`).
2. The cost of each layer in float: seconds from the runtime's profiler if a machine of the target's kind
   measured them (`edgekit.measure.layer_times`), else its shares of the multiply-accumulates and of the
   weights, reported as an estimate.
3. A ladder of noise limits, from none to 20 dB below plain PTQ or an SNR of 40 dB; for each the cheapest set,
   an exact knapsack (`edgekit.quant.knapsack`).
4. The metric confirms: the quantized program of a set is scored in torch, and the loosest limit that stays
   within the budget is taken. The artifact is proven in its own runtime afterwards, as always.

Dong et al. 2019, "HAWQ" (arXiv:1905.03696) rank layers by curvature; Hubara et al. 2021 (arXiv:2006.10518)
solve the choice as an integer program. Here sensitivities are measured, not approximated, because that costs
only seconds.

Cost: two calibrations, some hundred partial inferences on eight samples, and three to four times the metric
in torch.
"""

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from edgekit.errors import BudgetError, NotApplicable, UserError
from edgekit.quant import knapsack, layer_sensitivity, simulate
from edgekit.quant.integer_regions import IntegerRegions, network
from edgekit.quant.knapsack import Choice, Costs
from edgekit.quant.layer_sensitivity import Sensitivity, db
from edgekit.records import Candidate, Figure, LayerTimes, Settings
from edgekit.techniques import _mixed_reasons, ptq
from edgekit.techniques._mixed_judge import Judge
from edgekit.techniques._score import scored

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

log = logging.getLogger("edgekit")

#: noise limits that are tried: decibels below plain PTQ, and signal-to-noise ratios of the outputs
QUIETER_DB = (0.5, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0)
SNR_DB = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0)
ESTIMATED = "share of MACs + share of weights"
#: the estimated cost of turning one number into an integer and back
MULTIPLIES_PER_CONVERSION = 4.0


class Options(Settings):
    """How ranges are found, how sensitivities are measured, and how much of the budget may be used up."""

    estimator: ptq.Estimator = "mse"
    batches: ptq.CalibrationBatches = 100
    samples: Annotated[
        int, Meta(ge=1, description="calibration samples that sensitivities are measured on")
    ] = layer_sensitivity.SAMPLES
    share: Annotated[
        float, Meta(ge=0, le=1, description="share of the budget's max_drop that the simulation may use up")
    ] = 1.0


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Chooses the layers that stay float and quantizes the others, as `ptq` with `skip`.

    Raises:
        NotApplicable: No layer gains from being float, or all do.
        BudgetError: No set of float layers meets the budget.
        EdgekitError: Whatever `ptq` raises.
    """
    if candidate.quant is None or context.traced is None:
        raise UserError("mixed needs a target with a [quant] table and the traced float model")
    start = time.perf_counter()
    settings = ptq.Options(estimator=options.estimator, batches=options.batches)
    calibrated, trial = ptq.decided(candidate, task, settings, context)
    model = trial.model
    net = network(model)
    samples = simulate.spread(task.calibration or (), calibrated.like, calibrated.runs, options.samples)
    sensitivity = layer_sensitivity.measure(model, net, samples, trial.floats)
    costs = costs_of(net, context.times)
    floor = context.traced.metric - context.budget.max_drop * options.share
    judge = Judge(trial, net, partial(scored, task))
    choice, metric = choose(net, sensitivity, costs, judge, floor)
    done = ptq.apply(candidate, task, _skipping(settings, choice), context)
    reasons = {row.name: row for row in _mixed_reasons.reasons(net, sensitivity, choice, context.times)}
    figures = {
        "noise of all integers": (-db(sensitivity.total), "dB of the signal"),
        "noise predicted": (-db(choice.noise), "dB of the signal"),
        "metric in torch": (metric, ""),
        "float layers": (len(reasons), "count"),
        "MACs in float": (sum(row.macs_ratio or 0.0 for row in reasons.values()), "share"),
        "predicted cost of float": (choice.cost, costs.unit),
        "seconds": (time.perf_counter() - start, "s"),
    }
    return msgspec.structs.replace(
        done,
        recipe=candidate.recipe,
        float_layers=tuple(reasons.get(row.name, row) for row in done.float_layers),
        layers=_mixed_reasons.layer_costs(net, sensitivity, choice, context.times),
        figures=(*done.figures, *(Figure(step="mixed", name=n, value=float(v), unit=u) for n, (v, u) in figures.items())),
        doubts=(*done.doubts, *_doubts(context.times)),
    )  # fmt: skip


def _skipping(settings: ptq.Options, choice: Choice) -> ptq.Options:
    return msgspec.structs.replace(settings, skip=",".join(choice.float_layers))


def _doubts(times: LayerTimes | None) -> tuple[str, ...]:
    if times is not None and times.layers:
        return ()
    reason = times.reason if times is not None else "this machine is not one of the target's"
    return (f"float layers were chosen by multiply-accumulates and weights, not by measured time: {reason}",)


def costs_of(net: IntegerRegions, times: LayerTimes | None) -> Costs:
    """Returns what each layer costs more in float than in integers.

    That is measured in seconds if possible; else it is the layer's share of the multiply-accumulates plus
    that of the weights, which take three more bytes each and are read in every run.
    """
    measured = {t.name: t.float_s - t.int8_s for t in times.layers} if times is not None else {}
    if times is not None and all(layer.name in measured for layer in net.layers):
        return Costs(
            layers={layer.name: measured[layer.name] for layer in net.layers},
            border_per_element=times.border_s_per_element,
            unit="s",
        )
    total, weights = max(net.macs, 1), max(sum(layer.weights for layer in net.layers), 1)
    return Costs(
        layers={layer.name: layer.macs / total + layer.weights / weights for layer in net.layers},
        border_per_element=MULTIPLIES_PER_CONVERSION / total,
        unit=ESTIMATED,
    )


def choose(
    net: IntegerRegions,
    sensitivity: Sensitivity,
    costs: Costs,
    judge: Callable[[Choice], float],
    floor: float,
) -> tuple[Choice, float]:
    """Finds the loosest limit whose metric reaches `floor`, by bisection.

    Args:
        net: The layers and tensors of the network.
        sensitivity: Their sensitivities.
        costs: What each layer costs in float.
        judge: Returns the metric of a choice.
        floor: The least metric.

    Returns:
        The choice and its metric.

    Raises:
        NotApplicable: No layer gains from being float, or all do.
        BudgetError: No limit is good enough; the message tells the best that was found.
    """
    choices = _ladder(net, sensitivity, costs)
    low, high = 0, len(choices) - 1
    if judge(choices[0]) >= floor:
        return choices[0], judge(choices[0])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if judge(choices[middle]) >= floor else (middle, high)
        log.info(
            "mixed precision: %d float layers, metric %.4f",
            len(choices[middle].float_layers),
            judge(choices[middle]),
        )
    if judge(choices[high]) >= floor:
        return choices[high], judge(choices[high])
    best = max(choices, key=lambda c: judge(c) if c in (choices[low], choices[high]) else -math.inf)
    raise BudgetError(
        f"no set of float layers meets the budget: the best keeps {len(best.float_layers)} of {len(net.layers)} layers "
        f"in float and has a metric of {judge(best):.4f} in torch; at least {floor:.4f} is asked"
    )


def _ladder(net: IntegerRegions, sensitivity: Sensitivity, costs: Costs) -> list[Choice]:
    """The cheapest choice under each limit, each once, from loose to tight.

    No layer in float, or every layer, does not count as a choice: other recipes do that.
    """
    limits = {sensitivity.total * 10 ** (-db / 10) for db in QUIETER_DB} | {10 ** (-db / 10) for db in SNR_DB}
    found: list[Choice] = []
    for limit in (math.inf, *sorted((x for x in limits if x < sensitivity.total), reverse=True)):
        choice = knapsack.solve(net, sensitivity, costs, limit)
        if choice is None or len(choice.float_layers) == len(net.layers):
            break
        if choice.float_layers and (not found or choice.float_layers != found[-1].float_layers):
            found.append(choice)
    if not found:
        raise NotApplicable("no layer gains from being float, or all do: this is plain ptq, or float32")
    return found
