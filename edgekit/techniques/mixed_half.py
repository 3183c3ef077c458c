"""Half precision with islands of float32: for a model that float16 alone would break.

float16 ends at 65504. An operator whose result exceeds that gives infinity, silently, and NaN soon after.
Such operators, and those that read their results, stay float32; everything else becomes float16. If that does
not yet meet the budget, the operators whose rounding degrades the outputs most for the least work follow,
until the metric, scored in torch, meets it. The artifact is proven in its own runtime afterwards, as always.

Micikevicius et al. 2018, "Mixed Precision Training" (arXiv:1710.03740) keep the same kinds of operators in
float32. Cost: one float inference for each calibration input; the metric in torch; if it fails, one inference
for each operator and sample.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta
from torch.fx import GraphModule, Node

from edgekit.errors import ConversionError, NotApplicable, UserError
from edgekit.quant import half, simulate
from edgekit.quant import program as programs
from edgekit.quant.calibrate import Batch
from edgekit.quant.half import HalfSimulation
from edgekit.quant.program import calls, origin
from edgekit.records import Candidate, Figure, FloatLayer, Settings
from edgekit.techniques._score import scored

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

log = logging.getLogger("edgekit")

Rows = dict[str, str]  # operator -> why it stays float32


class Options(Settings):
    """When a result counts as too large for float16, and on how many inputs that is looked at."""

    headroom: Annotated[
        float, Meta(ge=1, description="a result counts as too large from 65504 / headroom on")
    ] = 2.0
    batches: Annotated[int, Meta(ge=1, description="calibration batches whose results are looked at")] = 100
    samples: Annotated[
        int, Meta(ge=1, description="calibration samples that sensitivities of operators are measured on")
    ] = 4


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Names the operators that stay float32; the program stays as it is, and the exporter does the work.

    Raises:
        NotApplicable: No operator needs float32, so plain fp16 is the same.
        ConversionError: Float32 operators do not help.
    """
    if context.traced is None:
        raise UserError("mixed_half needs the traced float model")
    program = programs.load(candidate.program).run_decompositions({})
    module, like = program.module(), programs.user_inputs(program)
    samples = simulate.spread(task.calibration or (), like, options.batches, options.batches)
    magnitudes = half.largest(module, samples)
    large = half.overflowing(module, magnitudes, options.headroom)
    rows: Rows = {name: _why(name, magnitudes, len(samples)) for name in large}
    floor = context.traced.metric - context.budget.max_drop
    metric = _metric(module, rows, task)
    if not metric >= floor:
        metric = _extend(
            module, rows, samples[: options.samples], floor, lambda keep: _metric(module, keep, task)
        )
    if not rows:
        raise NotApplicable("no operator needs float32: this is plain fp16")
    kept = _float_layers(module, rows)
    figures = {
        "operators in float32": (len(kept), "count"),
        "work in float32": (sum(row.macs_ratio or 0.0 for row in kept), "share"),
        "metric in torch": (metric, ""),
    }
    return msgspec.structs.replace(
        candidate,
        quant=None,
        float_layers=kept,
        figures=(
            *candidate.figures,
            *(Figure(step="mixed_half", name=n, value=float(v), unit=u) for n, (v, u) in figures.items()),
        ),
    )


def _why(name: str, magnitudes: dict[str, float], samples: int) -> str:
    reach = magnitudes.get(name, 0.0)
    if reach > half.MAX_FLOAT16:
        return f"reaches {reach:.3g}, beyond float16's 65504 (n={samples} calibration inputs)"
    return (
        f"next to a result that comes near float16's end of 65504; reaches {reach:.3g} itself (n={samples})"
    )


def _extend(
    module: GraphModule, rows: Rows, samples: Iterable[Batch], floor: float, metric: Callable[[Rows], float]
) -> float:
    """Adds operators, twice as many each time, the most sensitive for their work first.

    Raises ConversionError if even all of them do not help.
    """
    ranked = _by_sensitivity(module, rows, list(samples))
    count = 1
    while count <= len(ranked):
        rows |= {name: f"rounding it alone leaves an SNR of {db:.1f} dB" for name, db in ranked[:count]}
        found = metric(rows)
        log.info("half precision: %d operators in float32, metric %.4f", len(rows), found)
        if found >= floor:
            return found
        count *= 2
    raise ConversionError(
        f"half precision does not meet the budget with {len(rows)} operators in float32; use float32"
    )


def _by_sensitivity(module: GraphModule, rows: Rows, samples: list[Batch]) -> list[tuple[str, float]]:
    """(operator, SNR in dB when it alone is rounded), the most sensitive for its work first."""
    nodes = [n for n in calls(module) if n.name not in rows]
    everything = {n.name for n in module.graph.nodes}
    reference = simulate.outputs(HalfSimulation(module, everything), samples)
    found = []
    for node in nodes:
        alone = simulate.outputs(HalfSimulation(module, everything - {node.name}), samples)
        found.append((node, simulate.balanced_db(reference, alone)))
    found.sort(key=lambda pair: 10 ** (-pair[1] / 10) / max(half.work(pair[0]), 1), reverse=True)
    return [(node.name, db) for node, db in found]


def _metric(module: GraphModule, keep: Iterable[str], task: "Task") -> float:
    return scored(task, HalfSimulation(module, keep).run)


def _float_layers(module: GraphModule, rows: Rows) -> tuple[FloatLayer, ...]:
    nodes: list[Node] = calls(module)
    total = max(sum(half.work(node) for node in nodes), 1)
    return tuple(
        FloatLayer(
            name=n.name, origin=origin(n) or n.name, macs_ratio=half.work(n) / total, reason=rows[n.name]
        )
        for n in nodes
        if n.name in rows
    )
