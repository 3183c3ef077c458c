"""Distances between points (cdist of order 1 or 2): differences and sums, or products where there are many points."""

from collections.abc import Callable
from typing import Any

from torch.fx import GraphModule, Node

from edgekit.quant.rewriting import call, calls, replace, shaped
from edgekit.quant.rules import ATEN, known

MANY = 25  # points, beyond which torch multiplies them for their distances


def distances_to_sums(graph_module: GraphModule) -> None:
    """Rewrites cdist of fixed sizes."""
    for node in calls(graph_module, *known("cdist.default")):
        a, b, order = [*node.args, 2.0][:3]
        sizes = [*a.meta["val"].shape, *b.meta["val"].shape]
        if order in (1, 2) and all(isinstance(size, int) for size in sizes):
            many = order == 2 and max(a.meta["val"].shape[-2], b.meta["val"].shape[-2]) > MANY
            with graph_module.graph.inserting_before(node):
                found = (_of_products if many else _of_differences)(graph_module, node, order)
                if order == 2:
                    found = call(graph_module, node, ATEN.sqrt.default, (found,))
            replace(node, found)


def _of_differences(graph_module: GraphModule, node: Node, order: float) -> Node:
    a, b, *_ = node.args
    shape = [*node.meta["val"].shape, a.meta["val"].shape[-1]]

    def step(target: Any, *args: Any) -> Node:
        return shaped(call(graph_module, node, target, args), shape)

    sides = [
        shaped(step(ATEN.unsqueeze.default, side, axis), [*side.meta["val"].shape[:-2], *sizes, shape[-1]])
        for side, axis, sizes in ((a, -2, (shape[-3], 1)), (b, -3, (1, shape[-2])))
    ]
    apart = step(ATEN.sub.Tensor, *sides)
    each = step(ATEN.abs.default, apart) if order == 1 else step(ATEN.mul.Tensor, apart, apart)
    return call(graph_module, node, ATEN.sum.dim_IntList, (each, [-1]))


def _of_products(graph_module: GraphModule, node: Node, _: float) -> Node:
    """|a|^2 - 2 a b + |b|^2, as torch computes it."""
    a, b, *_rest = node.args
    before = list(b.meta["val"].shape)
    turned = call(graph_module, b, ATEN.transpose.int, (b, -1, -2))
    shaped(turned, [*before[:-2], before[-1], before[-2]])
    both = call(graph_module, node, ATEN.matmul.default, (a, turned))
    both = call(graph_module, node, ATEN.mul.Tensor, (both, -2.0))
    for side, axis in ((a, -1), (turned, -2)):
        squares = call(graph_module, side, ATEN.mul.Tensor, (side, side))
        length = call(graph_module, side, ATEN.sum.dim_IntList, (squares, [axis], True))
        shape = list(side.meta["val"].shape)
        shape[axis] = 1
        both = call(graph_module, node, ATEN.add.Tensor, (both, shaped(length, shape)))
    return call(graph_module, node, ATEN.clamp_min.default, (both, 0.0))


PASSES: list[Callable[[GraphModule], None]] = [distances_to_sums]
