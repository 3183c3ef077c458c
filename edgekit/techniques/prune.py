"""Structured pruning: whole channels are removed, and with them the time that every runtime spends on them.

1. The module of the task gets the weights of the candidate. A copy is pruned: `edgekit.prune` finds which
   channels can only be removed together (Torch-Pruning's dependency graph, Fang et al. 2023,
   arXiv:2301.12900), ranks them by a criterion, and chooses the width of each group so that the share `macs`
   of all multiply-accumulates is left. Widths are multiples that suit the target's kernels.
2. The statistics of batch norms are measured again, in forward passes only; that alone is worth 16 points of
   accuracy on ResNet-20.
3. The result is exported as the model was. It needs training: fine-tuning or distillation is the next step of
   a recipe.

`scope = "latency"` chooses the widths by time instead of MACs: from a table of each layer's time at each
width, measured on a machine of the target's kind, it takes the widths that are worth most within the time
(`edgekit.prune.latency`). `depth` drops blocks before what is left is narrowed (`edgekit.prune.depth`).
`criterion`: l2 is the default and needs no data; shapley takes minutes. The other values of `scope` are
explained in `edgekit.prune.widths`. The folder `pruned` of the candidate rebuilds the module, so that a
recipe can prune again what was trained meanwhile.

Cost: no training. The pruning itself took 1 to 20 s for each of 17 networks (benchmarks/prune_models.py, on a
busy core); the task's metric is computed twice in addition. Memory: three copies of the weights.
"""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
import torch
from msgspec import Meta
from torch import nn

from edgekit.errors import ConversionError, UserError
from edgekit.prune import module_macs, rewind, saved
from edgekit.prune.criteria import Criterion, Evidence
from edgekit.prune.depth import shorten
from edgekit.prune.latency.width_plan import Planner, seconds_for
from edgekit.prune.shrink import Request, Shrunk, shrink
from edgekit.quant import program as programs
from edgekit.quant.recalibrate import recalibrate
from edgekit.records import Candidate, Settings, Step
from edgekit.records._options import read
from edgekit.techniques._figures import noted
from edgekit.techniques._pruned_module import batches_of, joined, sizes_of
from edgekit.techniques._pruned_module import inputs_of as inputs_of
from edgekit.techniques._pruned_module import loaded as loaded
from edgekit.techniques._pruned_module import module_of as module_of
from edgekit.techniques._score import scored
from edgekit.trace.model import examples_of, export

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

LATENCY: Final = "latency"
AT_ONCE = 64  # images scored at a time


class Options(Settings):
    """How much goes, how channels are ranked, and what stays whole."""

    macs: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="share of multiply-accumulates to keep; 1 leaves the widths alone, with a depth below 1",
        ),
    ] = 0.5
    depth: Annotated[
        float, Meta(gt=0, le=1, description="share of equal residual blocks to keep in each stage")
    ] = 1.0
    criterion: Annotated[Criterion, Meta(description="what a channel is worth (edgekit.prune.criteria)")] = (
        "l2"
    )
    scope: Annotated[
        Literal["uniform", "global", "isomorphic", "latency"],
        Meta(
            description="which channels are ranked together (edgekit.prune.widths), or widths chosen by measured time"
        ),
    ] = "uniform"
    steps: Annotated[int, Meta(ge=1, description="cuts, with a new ranking before each")] = 1
    ignore: Annotated[
        str, Meta(description="layers or blocks that stay whole: dotted names, separated by commas")
    ] = ""
    multiple: Annotated[
        int, Meta(ge=0, description="number that widths are a multiple of; 0 = the target's channel_multiple")
    ] = 0
    images: Annotated[
        int, Meta(ge=1, description="training samples for criteria that look at gradients or losses")
    ] = 256
    recalibrate: Annotated[
        int, Meta(ge=0, description="inputs that batch norm statistics are measured on; 0 = none")
    ] = 512
    rewind: Annotated[
        str,
        Meta(
            description="a .safetensors file of early weights of the same network, for the channels that stay"
        ),
    ] = ""
    speedup: Annotated[
        float,
        Meta(
            ge=0,
            description="for scope latency, in place of macs: float time / time of the pruned artifact; 0 = a little more than "
            "the budget asks for",
        ),
    ] = 0.0
    device: Annotated[str, Meta(description="where layers are timed, as `edgekit bench` names it")] = "local"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.speedup and self.scope != LATENCY:
            raise UserError(f"prune: speedup is {self.speedup:g}; it is for scope {LATENCY} alone")
        if self.scope == LATENCY and self.steps > 1:
            raise UserError(
                f"prune: steps is {self.steps}; scope {LATENCY} cuts once, to widths that were measured"
            )
        if self.scope == LATENCY and self.depth < 1:
            raise UserError(
                f"prune: depth is {self.depth:g}; with scope {LATENCY} drop blocks in a step before"
            )
        if self.macs == self.depth == 1:
            raise UserError("prune: macs and depth are 1, which keeps all of the network; give one below 1")

    @property
    def narrows(self) -> bool:
        """Whether channels are removed, and not only blocks."""
        return self.macs != 1 or self.depth == 1

    def request(self, multiple: int, left: float = 1.0) -> Request:
        """Returns what is asked of `edgekit.prune.shrink`.

        Args:
            multiple: The target's channel_multiple.
            left: The share of all MACs that the module to be narrowed still has.
        """
        return Request(
            macs=self.macs / left,
            criterion=self.criterion,
            scope="uniform" if self.scope == LATENCY else self.scope,
            steps=self.steps,
            ignore=tuple(part.strip() for part in self.ignore.split(",") if part.strip()),
            multiple=self.multiple or multiple,
        )


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Prunes the task's module with the weights of the candidate; writes program.pt2 and the folder pruned.

    Raises:
        UserError: A name or a file does not fit the module.
        NotApplicable: The network has no channels or blocks to remove, or no width comes nearer to what is
            asked.
        BudgetError: Even with every group at its least width more is left than asked for.
        ConversionError: The model cannot be pruned, or the program does not fit it.
        TaskError: The task lacks data that the criterion or the recalibration needs.
    """
    start, work = time.perf_counter(), Path(context.work)
    fresh, examples = module_of(candidate, task), examples_of(task)
    module, earlier = loaded(candidate, fresh, examples)

    def settle(net: nn.Module) -> int:
        return recalibrate(net, inputs_of(task, examples, context.seed), options.recalibrate)

    shrunk = _shrunk(module, task, examples, options, context, settle)
    kept, dropped = (
        saved.composed(earlier, shrunk.kept),
        (*(earlier.dropped if earlier else ()), *shrunk.dropped),
    )
    saved.save(fresh, shrunk.module, kept, work / "pruned", dropped)
    net = shrunk.module
    if options.rewind:
        net = rewind.rewound(rewind.read(fresh, Path(options.rewind)), examples, kept, dropped)
    raw = scored(task, net, AT_ONCE)
    images = settle(net)
    after = scored(task, net, AT_ONCE) if images else raw
    programs.save(export(net.requires_grad_(False), examples), work / "program.pt2")
    done = msgspec.structs.replace(
        candidate,
        program=str(work / "program.pt2"),
        pruned=str(work / "pruned"),
        unpruned=candidate.program,
        doubts=(*candidate.doubts, *shrunk.doubts),
    )
    figures = {
        **sizes_of(module, shrunk),
        "metric before recalibration": (raw, ""),
        "images of recalibration": (images, "count"),
        "metric pruned": (after, ""),
        **shrunk.figures,
        "seconds": (time.perf_counter() - start, "s"),
    }
    return noted(done, "prune", figures)


def _shrunk(
    module: nn.Module,
    task: "Task",
    examples: tuple[torch.Tensor, ...],
    options: Options,
    context: "Context",
    settle: Callable[[nn.Module], int],
) -> Shrunk:
    """Drops blocks first, then channels, as far as the options ask for it."""
    multiple = context.target.channel_multiple if context.target else 1
    batches = batches_of(module, task, options.images, context.seed)
    loss = task.training.loss if task.training else None
    evidence = Evidence([(batch.inputs, batch.labels) for batch in batches], loss, context.seed)
    short = _shortened(module, task, examples, options, context.seed)
    if options.scope == LATENCY:
        planner = _planner(options, context, multiple)
        request = options.request(multiple)
        done = joined(short, shrink(short.module, examples, request, evidence, settle, planner))
        done.figures.update(planner.figures)
        return done
    if not options.narrows or short.macs <= options.macs * short.macs_before:
        return short
    request = options.request(multiple, short.macs / short.macs_before)
    return joined(short, shrink(short.module, examples, request, evidence, settle))


def options_of(step: Step) -> Options:
    """Returns the options of a step. Raises UserError for options that are not allowed."""
    return read(Options, step.options)


def _planner(options: Options, context: "Context", multiple: int) -> Planner:
    table = context.widths
    if table is None or not table.rows:
        why = table.reason if table is not None and table.reason else "there is no target"
        raise ConversionError(f"scope {LATENCY} needs figures of layers, and none were measured: {why}")
    return Planner(table, seconds_for(table, options.speedup, context.budget), options.multiple or multiple)


def _shortened(
    module: nn.Module, task: "Task", examples: tuple[torch.Tensor, ...], options: Options, seed: int
) -> Shrunk:
    """The module without some of its blocks; the module itself if none are to go."""
    base = module_macs.count(module, examples)
    if options.depth == 1:
        return Shrunk(module=module, macs_before=base, macs=base)
    short = copy.deepcopy(module)
    inputs = next(inputs_of(task, examples, seed))
    dropped = shorten(short, examples, inputs, options.depth)
    recalibrate(short, inputs_of(task, examples, seed), options.recalibrate)
    return Shrunk(module=short, macs_before=base, macs=module_macs.count(short, examples), dropped=dropped)
