"""Low-rank factorization: a large layer becomes two thin ones, where that is less to multiply.

The outputs y = W x + b of a layer do not fill all D dimensions. With P [D, r], the r directions in which they
vary most over the calibration inputs, y is nearly P P' (y - m) + m, where m is their mean: a layer with
weights P' W and r outputs, then one with weights P and D outputs. No other pair of rank r comes closer on
these inputs (Zhang et al. 2015, arXiv:1505.06798; it is the singular value decomposition of W weighted by the
second moments of the inputs). Without calibration inputs, P holds the left singular vectors of W alone.

    linear            C r + r D        instead of C D
    convolution kxk   C k k r + r D    instead of C k k D: the second is 1x1, the first keeps the rest

Ranks: `energy` is the share of the variance of its outputs that every layer keeps; or `macs` is the share of
all multiply-accumulates that may be left, and the energy that achieves it is searched for. Ranks are
multiples of 8, which kernels like. A layer whose pair costs more than the share PAYS of it stays as it is. A
following step (distill, qat) can win back what was lost.

It pays off in linear layers: a small transformer for text kept its accuracy at 0.75 of its CPU time in ONNX
Runtime. It did not in ResNet-20, where half of the multiply-accumulates take 0.12 of the time: prune first
there (`benchmarks/lowrank.py`).

Cost: one pass over the calibration inputs and an eigenvalue decomposition for each layer; seconds.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import torch
from msgspec import Meta
from torch.fx import GraphModule, Node

from edgekit.errors import NotApplicable
from edgekit.quant import program as programs
from edgekit.quant import tensors
from edgekit.records import Candidate, Settings
from edgekit.techniques._figures import noted
from edgekit.techniques._lowrank_layers import BLOCK, Layer, bias_of, layers_of
from edgekit.techniques._score import metric_of

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

HALVINGS = 20


class Options(Settings):
    """How much of each layer stays, given as variance or as work, and which layers are left alone."""

    energy: Annotated[
        float, Meta(ge=0, le=1, description="share of the variance of each layer's outputs to keep")
    ] = 0.95
    macs: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="share of all multiply-accumulates that may be left; 0 = whatever energy leaves",
        ),
    ] = 0.0
    skip: Annotated[str, Meta(description="modules that stay whole, separated by commas")] = ""
    batches: Annotated[int, Meta(ge=0, description="calibration batches; 0 = the weights alone decide")] = 20


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Factorizes layers of the candidate, and writes it to program.pt2 in the work folder.

    Raises:
        UserError: `skip` names no module, or all layers.
        NotApplicable: No layer can be factorized within what is asked for.
        TaskError: The calibration inputs do not fit.
    """
    start, path = time.perf_counter(), Path(context.work) / "program.pt2"
    program = programs.load(candidate.program)
    like, graph = programs.user_inputs(program), program.module()
    layers = layers_of(graph, task.calibration or (), like, options.skip, options.batches)
    ranks, energy = _ranks(layers, options)
    for layer, rank in zip(layers, ranks, strict=True):
        if rank:
            _factorize(graph, layer, rank)
    tensors.drop_unread(graph)
    graph.graph.lint()
    graph.recompile()
    programs.save(programs.export(graph, like), path)
    before = sum(layer.macs for layer in layers)
    after = sum(layer.left(rank) for layer, rank in zip(layers, ranks, strict=True))
    figures = {
        "layers factorized": (sum(map(bool, ranks)), "count"),
        "layers looked at": (len(layers), "count"),
        "energy": (energy, "ratio"),
        "MACs left": (after / before, "ratio"),
        "metric factorized": (metric_of(task, graph), ""),
        "seconds": (time.perf_counter() - start, "s"),
    }
    return noted(msgspec.structs.replace(candidate, program=str(path)), "lowrank", figures)


def _ranks(layers: list[Layer], options: Options) -> tuple[list[int], float]:
    """(rank of each layer, 0 = whole; energy). Raises NotApplicable if nothing, or not enough, can go."""
    energy = options.energy
    total = sum(layer.macs for layer in layers)
    if options.macs:
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            energy = (low + high) / 2
            fits = _left(layers, energy) <= options.macs * total
            low, high = (energy, high) if fits else (low, energy)
        energy = low
        if _left(layers, energy) > options.macs * total:
            raise NotApplicable(
                f"lowrank cannot leave {options.macs:g} of the multiply-accumulates: with ranks of {BLOCK} in every layer that "
                f"pays, {_left(layers, 0.0) / total:.2f} are left; ask for more"
            )
    ranks = [layer.rank(energy) for layer in layers]
    if not any(ranks):
        raise NotApplicable(
            f"lowrank finds no layer that is cheaper as two with {energy:.3f} of its variance; give a lower energy, or leave it out"
        )
    return ranks, energy


def _left(layers: list[Layer], energy: float) -> int:
    return sum(layer.left(layer.rank(energy)) for layer in layers)


def _factorize(graph: GraphModule, layer: Layer, rank: int) -> None:
    """Replaces a node with two, under the same module."""
    node, basis = layer.node, layer.basis[:, :rank]
    shape = tensors.read(graph, str(node.args[1].target)).shape
    given = bias_of(graph, node, len(layer.weight))
    ones = [1] * (len(shape) - 2)
    stored = {
        "first": (basis.T @ layer.weight).reshape(rank, *shape[1:]),
        "second": basis.reshape(-1, rank, *ones),
        "bias": basis @ (basis.T @ (given - layer.mean)) + layer.mean,
    }
    with graph.graph.inserting_before(node):
        first, second, after = (
            _stored(graph, f"{node.name}_{name}", value) for name, value in stored.items()
        )
        thin = graph.graph.call_function(node.target, (node.args[0], first, None, *node.args[3:]))
        wide = graph.graph.call_function(node.target, (thin, second, after))
    for made in (thin, wide):
        made.meta = dict(node.meta)
    node.replace_all_uses_with(wide)
    graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()


def _stored(graph: GraphModule, name: str, value: torch.Tensor) -> Node:
    graph.register_parameter(name, torch.nn.Parameter(value.float().contiguous(), requires_grad=False))
    return graph.graph.get_attr(name)
