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
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import torch
from msgspec import Meta
from torch.fx import GraphModule, Interpreter, Node

from edgekit.errors import NotApplicable, UserError
from edgekit.quant import program as programs
from edgekit.quant import rules, tensors
from edgekit.quant.batched import widened
from edgekit.quant.calibrate import TOGETHER, calibrate
from edgekit.records import Candidate, Record, Settings
from edgekit.techniques import ptq
from edgekit.techniques._score import metric_of

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

ATEN = rules.ATEN
BLOCK = 8
PAYS = 0.9
PLACES = 512  # positions of one image that count, evenly spread over a large map
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


class _Layer(Record):
    """A layer with the directions in which its outputs vary.

    Attributes:
        node: Its node in the graph.
        weight: [D, C k k].
        basis: [D, D], the directions of the outputs, the strongest first.
        shares: Cumulative shares of variance, [D].
        mean: The mean of the outputs, [D].
        places: How often the layer's product is taken in one run.
    """

    node: Any
    weight: Any
    basis: Any
    shares: Any
    mean: Any
    places: int

    @property
    def macs(self) -> int:
        return self.places * self.weight.numel()

    def rank(self, energy: float) -> int:
        """A multiple of BLOCK; 0 if the pair does not pay off."""
        out, inputs = self.weight.shape
        least = int((self.shares < energy).sum()) + 1
        rank = -(-least // BLOCK) * BLOCK
        return rank if rank * (out + inputs) <= PAYS * out * inputs else 0

    def left(self, rank: int) -> int:
        """Multiply-accumulates at that rank."""
        return self.places * rank * sum(self.weight.shape) if rank else self.macs


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
    layers = _layers(graph, task.calibration or (), like, options)
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
    return ptq.noted(msgspec.structs.replace(candidate, program=str(path)), "lowrank", figures)


def _layers(
    graph: GraphModule, calibration: Iterable[object], like: tuple[torch.Tensor, ...], options: Options
) -> list[_Layer]:
    """Every linear layer and 2-d convolution without groups, in the order of the graph."""
    skipped = {part.strip() for part in options.skip.split(",") if part.strip()}
    names = {name for node in programs.calls(graph) if (name := programs.module_path(node))}
    if unknown := skipped - names:
        raise UserError(
            f"lowrank option skip names {', '.join(sorted(unknown))}; the model has no such module"
        )
    eligible = [node for node in programs.calls(graph) if _is_candidate(node)]
    if not eligible:
        raise NotApplicable("lowrank finds no linear layer and no convolution without groups to factorize")
    nodes = [node for node in eligible if programs.module_path(node) not in skipped]
    if not nodes:
        raise UserError(f"lowrank: skip leaves out all {len(eligible)} layers; name fewer")
    moments = _Moments(graph, nodes)
    if options.batches:
        calibrate(moments, calibration, like, options.batches)  # type: ignore[arg-type]
    return [_layer(graph, node, *moments.of(node)) for node in nodes]


def _is_candidate(node: Node) -> bool:
    if node.target not in (ATEN.linear.default, ATEN.conv2d.default):
        return False
    grouped = len(node.args) > 6 and node.args[6] != 1
    return not grouped and node.args[1].op == "get_attr"


class _Moments:
    """Runs a graph and sums up the outputs of some nodes and their products, as `calibrate` calls it."""

    def __init__(self, graph: GraphModule, nodes: list[Node]) -> None:
        self._graph, at_once = widened(graph)
        self.meta = {TOGETHER: at_once}
        self._sums: dict[str, list[Any]] = {node.name: [0, 0.0, 0.0] for node in nodes}

    def __call__(self, *inputs: torch.Tensor) -> Any:
        return _Watching(self._graph, self._add).run(*inputs)

    def _add(self, node: Node, y: torch.Tensor) -> None:
        found = self._sums.get(node.name)
        if found is None:
            return
        rows = (y.flatten(2).transpose(1, 2) if node.target is ATEN.conv2d.default else y).flatten(0, -2)
        step = max(1, len(rows) // (PLACES * len(y)))
        rows = rows[::step].double()
        found[0] += len(rows)
        found[1] += rows.sum(0)
        found[2] += rows.T @ rows

    def of(self, node: Node) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
        """(mean [D], covariance [D, D]) of the node's outputs; nothing if none were seen."""
        count, total, products = self._sums[node.name]
        if not count:
            return None, None
        mean = total / count
        return mean, products / count - torch.outer(mean, mean)


class _Watching(Interpreter):
    def __init__(self, graph: GraphModule, watch: Any) -> None:
        super().__init__(graph)
        self._watch = watch

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        self._watch(n, value)
        return value


def _layer(
    graph: GraphModule, node: Node, mean: torch.Tensor | None, covariance: torch.Tensor | None
) -> _Layer:
    weight = tensors.read(graph, str(node.args[1].target)).flatten(1).double()
    if mean is None or covariance is None:
        mean, covariance = _bias(graph, node, len(weight)), weight @ weight.T
    values, basis = torch.linalg.eigh(covariance)
    strength = values.flip(0).clamp_min(0).cumsum(0)
    shape = node.meta["val"].shape
    return _Layer(
        node=node,
        weight=weight,
        basis=basis.flip(1),
        shares=strength / strength[-1].clamp_min(1e-30),
        mean=mean,
        places=prod(shape) // len(weight),
    )


def _ranks(layers: list[_Layer], options: Options) -> tuple[list[int], float]:
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


def _left(layers: list[_Layer], energy: float) -> int:
    return sum(layer.left(layer.rank(energy)) for layer in layers)


def _factorize(graph: GraphModule, layer: _Layer, rank: int) -> None:
    """Replaces a node with two, under the same module."""
    node, basis = layer.node, layer.basis[:, :rank]
    shape = tensors.read(graph, str(node.args[1].target)).shape
    given = _bias(graph, node, len(layer.weight))
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


def _bias(graph: GraphModule, node: Node, size: int) -> torch.Tensor:
    bias = node.args[2] if len(node.args) > 2 else None
    return torch.zeros(size).double() if bias is None else tensors.read(graph, str(bias.target)).double()


def _stored(graph: GraphModule, name: str, value: torch.Tensor) -> Node:
    graph.register_parameter(name, torch.nn.Parameter(value.float().contiguous(), requires_grad=False))
    return graph.graph.get_attr(name)
