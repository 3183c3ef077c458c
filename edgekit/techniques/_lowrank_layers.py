"""The layers that can be factorized, and the directions in which their outputs vary most."""

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node

from edgekit.errors import NotApplicable, UserError
from edgekit.quant import program as programs
from edgekit.quant import rules, tensors
from edgekit.quant.batched import widened
from edgekit.quant.calibrate import TOGETHER, calibrate
from edgekit.records import Record

ATEN = rules.ATEN
BLOCK = 8
PAYS = 0.9
PLACES = 512  # positions of one image that count, evenly spread over a large map


class Layer(Record):
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
        """The multiply-accumulates of the whole layer."""
        return self.places * self.weight.numel()

    def rank(self, energy: float) -> int:
        """Returns the rank for a share of variance, a multiple of BLOCK; 0 if the pair does not pay off."""
        out, inputs = self.weight.shape
        least = int((self.shares < energy).sum()) + 1
        rank = -(-least // BLOCK) * BLOCK
        return rank if rank * (out + inputs) <= PAYS * out * inputs else 0

    def left(self, rank: int) -> int:
        """Returns the multiply-accumulates at that rank."""
        return self.places * rank * sum(self.weight.shape) if rank else self.macs


def layers_of(
    graph: GraphModule, calibration: Iterable[object], like: tuple[torch.Tensor, ...], skip: str, batches: int
) -> list[Layer]:
    """Finds every linear layer and 2-d convolution without groups, in the order of the graph.

    Args:
        graph: The model.
        calibration: The calibration batches.
        like: Zeros in the shape of its inputs.
        skip: Modules to leave out, separated by commas.
        batches: Calibration batches to use; 0 = the weights alone decide.

    Raises:
        UserError: `skip` names no module, or all layers.
        NotApplicable: There is no such layer.
        TaskError: The calibration batches do not fit.
    """
    skipped = {part.strip() for part in skip.split(",") if part.strip()}
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
    if batches:
        calibrate(moments, calibration, like, batches)  # type: ignore[arg-type]
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
) -> Layer:
    weight = tensors.read(graph, str(node.args[1].target)).flatten(1).double()
    if mean is None or covariance is None:
        mean, covariance = bias_of(graph, node, len(weight)), weight @ weight.T
    values, basis = torch.linalg.eigh(covariance)
    strength = values.flip(0).clamp_min(0).cumsum(0)
    shape = node.meta["val"].shape
    return Layer(
        node=node,
        weight=weight,
        basis=basis.flip(1),
        shares=strength / strength[-1].clamp_min(1e-30),
        mean=mean,
        places=prod(shape) // len(weight),
    )


def bias_of(graph: GraphModule, node: Node, size: int) -> torch.Tensor:
    """Returns the bias of a layer, zeros if it has none."""
    bias = node.args[2] if len(node.args) > 2 else None
    return torch.zeros(size).double() if bias is None else tensors.read(graph, str(bias.target)).double()
