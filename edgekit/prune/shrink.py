"""From a module and a share of its MACs to a smaller module: rank, choose widths, cut, repeat if asked.

A copy is pruned. If the result does not run, or computes something else than the whole network does without
these channels, a second attempt leaves the residual stream alone (`edgekit.prune.residual_stream`) and prunes
only the inner layers of blocks.
"""

import copy
import difflib
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
from msgspec import Meta
from torch import nn

from edgekit.errors import BudgetError, ConversionError, EdgekitError, NotApplicable, UserError
from edgekit.prune import module_macs, residual_stream
from edgekit.prune.criteria import Criterion, Evidence, Scored, find
from edgekit.prune.cut import cut
from edgekit.prune.graph import LIMIT_S, Graph
from edgekit.prune.groups import Group
from edgekit.prune.widths import MOST, Scope, Scores, at_ratio, for_macs, nearest
from edgekit.records import Settings

log = logging.getLogger("edgekit")

Choose = Callable[[Graph, Mapping[str, Group], Scores], dict[str, int]]

INSIDE = "pruned inside its blocks only, layers whose outputs are added, joined or moved stay whole: "
THIN = 0.2  # a group that keeps a smaller share of its channels is reported
FAR = 0.1  # a larger deviation from the share of MACs asked for is reported


class Request(Settings):
    """What is asked of `shrink`; `limit_s` bounds the search for groups of channels."""

    owner = "prune"

    macs: Annotated[float, Meta(gt=0, lt=1, description="share of multiply-accumulates to keep")] = 0.5
    criterion: Criterion = "l2"
    scope: Scope = "uniform"
    steps: Annotated[int, Meta(ge=1, description="cuts, with a new ranking before each")] = 1
    ignore: Annotated[tuple[str, ...], Meta(description="dotted names that stay whole")] = ()
    multiple: Annotated[int, Meta(ge=1, description="number that widths are a multiple of")] = 1
    limit_s: Annotated[float, Meta(gt=0)] = LIMIT_S


@dataclass
class Shrunk:
    """A smaller module, and what was done to it.

    Attributes:
        module: The smaller module.
        macs_before: MACs of the original module.
        macs: MACs of the smaller module.
        kept: The channels that are still there, by root, as the original module numbered them.
        widths: The channels of each group, (before, after), by root.
        dropped: Blocks that became the identity.
        figures: What the criterion reports about itself.
        doubts: Sentences about what turned out differently than asked.
    """

    module: nn.Module
    macs_before: int
    macs: int
    kept: dict[str, list[int]] = field(default_factory=dict)
    widths: dict[str, tuple[int, int]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


def shrink(
    module: nn.Module,
    examples: tuple[torch.Tensor, ...],
    request: Request,
    evidence: Evidence,
    recalibrate: Callable[[nn.Module], object] = lambda module: None,
    choose: Choose | None = None,
) -> Shrunk:
    """Makes a smaller copy of a module.

    Args:
        module: The network.
        examples: Inputs for one run.
        request: How much to keep, and how channels are ranked.
        evidence: Data for criteria that need some.
        recalibrate: Called after each step but the last, to recalibrate batch norms before the next ranking.
        choose: Chooses the widths, in place of those for a share of the MACs; in a single step, for the
            groups that `cuttable` finds.

    Raises:
        UserError: A name or a share is not possible.
        NotApplicable: The network has no channels to remove, or no width comes nearer to what is asked.
        BudgetError: Even with every group at its least width more is left than asked for.
        ConversionError: The module cannot be pruned.
    """
    if choose is not None:
        graph, reason = cuttable(module, examples, request)
        done = _steps(graph, request, request.ignore, evidence, recalibrate, choose)
        done.doubts += [INSIDE + reason] if reason else []
        return done
    check_names(module, request.ignore)
    try:
        graph = Graph(copy.deepcopy(module), examples, request.ignore, request.limit_s)
    except ConversionError as error:
        raise ConversionError(f"{error}. {residual_stream.obstacles(module, examples)}") from error
    try:
        return _steps(graph, request, request.ignore, evidence, recalibrate, None)
    except ConversionError as error:
        log.info("%s; the stream is left alone", error)
        first = error
    ignore = {*request.ignore, *residual_stream.layers(module, examples)}
    graph = Graph(copy.deepcopy(module), examples, ignore, request.limit_s)
    try:
        done = _steps(graph, request, ignore, evidence, recalibrate, None)
    except (ConversionError, NotApplicable) as error:
        raise type(error)(f"{error}. {residual_stream.obstacles(module, examples)}") from error
    done.doubts.append(f"{INSIDE}{first}")
    return done


def check_names(module: nn.Module, names: Collection[str]) -> None:
    """Raises UserError for a name that no layer has."""
    there = [name for name, _ in module.named_modules() if name]
    for name in names:
        if name not in there:
            close = difflib.get_close_matches(name, there, 1)
            hint = f"did you mean {close[0]}?" if close else f"names are like {', '.join(there[:3])}"
            raise UserError(f"ignore: no layer is called {name!r}; {hint}")


def _steps(
    graph: Graph,
    request: Request,
    ignore: Collection[str],
    evidence: Evidence,
    recalibrate: Callable[[nn.Module], object],
    choose: Choose | None,
) -> Shrunk:
    base = module_macs.count(graph.module, graph.examples)
    done = Shrunk(module=graph.module, macs_before=base, macs=base)
    for step in range(1, request.steps + 1):
        if step > 1:
            recalibrate(done.module)
            graph = Graph(done.module, graph.examples, ignore, request.limit_s)
        share = 1 - (1 - request.macs) * step / request.steps
        _step(graph, request, choose or _by_macs(request, share * base), evidence, done)
    if all(before == after for before, after in done.widths.values()):
        raise NotApplicable(
            f"no width changes: for {request.macs:g} of the MACs no layer comes nearer to another multiple of {request.multiple}; "
            "give a smaller multiple, or keep less"
        )
    done.macs = module_macs.count(done.module, graph.examples)
    thin = [root for root, (before, after) in done.widths.items() if after < THIN * before]
    if thin:
        done.doubts.append(
            f"less than {THIN:g} of the channels are left of {', '.join(thin[:3])}; keep more macs"
        )
    if graph.strange:
        done.doubts.append(
            f"layers stay whole whose channels Torch-Pruning cannot follow: {', '.join(sorted(graph.strange)[:3])}"
        )
    off = done.macs / base - request.macs
    if choose is None and abs(off) > FAR:
        done.doubts.append(
            f"{done.macs / base:.2f} of the MACs are left where {request.macs:g} was asked: these widths are the nearest there are"
        )
    return done


def _by_macs(request: Request, wanted: float) -> Choose:
    """Chooses the widths that leave `wanted` multiply-accumulates."""

    def choose(graph: Graph, groups: Mapping[str, Group], scores: Scores) -> dict[str, int]:
        forecast = module_macs.Forecast(graph.module, graph.examples, groups)
        whole = forecast({root: group.width for root, group in groups.items()})
        floor = forecast(at_ratio(groups, scores, MOST, request.scope, request.multiple))
        if whole > floor > wanted + FAR * whole:
            raise BudgetError(
                f"macs {wanted / whole:.2g} is below the floor: with every group of channels at its least width {floor / whole:.2f} of the "
                "multiply-accumulates are left, and whole layers would have to go. Keep more macs, give a smaller multiple, or drop "
                "blocks with depth"
            )
        return for_macs(groups, scores, wanted, forecast, request.scope, request.multiple)

    return choose


def _step(graph: Graph, request: Request, choose: Choose, evidence: Evidence, done: Shrunk) -> None:
    """Ranks and cuts once."""
    if not graph.groups:
        raise NotApplicable(f"{type(graph.module).__name__} has no layer whose channels could go")
    found = _scored(graph, request.criterion, evidence)
    groups = {root: group for root, group in graph.groups.items() if root in found.scores}
    if not groups:
        raise NotApplicable(f"criterion {request.criterion!r} says nothing of any layer; take l2")
    left = [root for root in graph.groups if root not in groups]
    silent = f"criterion {request.criterion!r} says nothing of {len(left)} groups, which stay whole: {', '.join(left[:3])}"
    if left and silent not in done.doubts:
        done.doubts.append(silent)
    widths = choose(graph, groups, found.scores)
    kept = cut(graph, widths, found.scores)
    for root, group in groups.items():
        before = done.widths[root][0] if root in done.widths else group.width
        done.widths[root] = (before, widths[root])
        old = done.kept.get(root, list(range(group.width)))
        done.kept[root] = [old[channel] for channel in kept.get(root, range(group.width))]
    done.figures.update(found.figures)


def _scored(graph: Graph, criterion: str, evidence: Evidence) -> Scored:
    try:
        return find(criterion).score(graph, evidence)  # type: ignore[no-any-return]
    except EdgekitError:
        raise
    except Exception as error:
        raise ConversionError(
            f"criterion {criterion!r} cannot rank the channels of {type(graph.module).__name__}: {type(error).__name__}: {error}"
        ) from error


def cuttable(module: nn.Module, examples: tuple[torch.Tensor, ...], request: Request) -> tuple[Graph, str]:
    """Finds the groups that a cut can use.

    A trial cut to half of each group decides: if it works, all groups of the network can be cut, else those
    outside the residual stream.

    Returns:
        A fresh graph, and why the stream is left alone; an empty text if it is not.
    """
    check_names(module, request.ignore)
    graph = Graph(copy.deepcopy(module), examples, request.ignore, request.limit_s)
    halves = {root: nearest(group, group.width / 2, request.multiple) for root, group in graph.groups.items()}
    scores = {root: torch.arange(group.width).float() for root, group in graph.groups.items()}
    try:
        cut(graph, halves, scores)
        ignore, reason = set(request.ignore), ""
    except ConversionError as error:
        reason = str(error)
        ignore = {*request.ignore, *residual_stream.layers(module, examples)}
    return Graph(copy.deepcopy(module), examples, ignore, request.limit_s), reason
