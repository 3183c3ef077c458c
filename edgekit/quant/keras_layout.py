"""Moves the permutes of a channels-last graph down to where two of them cancel.

    permute(x, to last) -> relu -> permute(to first)    =    relu(x)

A permute commutes with what looks at each number alone, and with reductions, sums, joins and pads once their axes are
renamed. Sunk below those, it meets the permute in front of the next convolution, and both are the identity. What
remains is at the borders: the interface of the model, and a reshape that mixes axes (`edgekit.quant.border_permutes`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from edgekit.quant.fake_values import insert, insert_after, revalue
from edgekit.quant.permutes import (
    PADS,
    Order,
    is_permute,
    is_pointwise,
    only_singletons_move,
    order_of,
    pads_constant,
    pads_of,
    unmoved,
)

ATEN = torch.ops.aten

_REDUCTIONS = {ATEN.mean.dim, ATEN.sum.dim_IntList, ATEN.amax.default, ATEN.amin.default}
_ONE_AXIS = {ATEN.softmax.int, ATEN.log_softmax.int, ATEN.slice.Tensor}


def channels_first(graph_module: GraphModule) -> None:
    """Sinks every permute below what commutes with it; it cancels where it meets its inverse."""
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is ATEN.permute.default:
            _compose(node)
        elif is_pointwise(node):
            _sink_pointwise(graph_module, node)
        elif node.target in _REDUCTIONS:
            _sink_reduction(node)
        elif node.target is ATEN.cat.default:
            _sink_cat(graph_module, node)
        elif node.target in _ONE_AXIS:
            _sink_one_axis(node)
        elif node.target in PADS:
            _sink_pad(node)
        elif node.target is ATEN.reshape.default:
            _drop_permute(node)


def _compose(node: Node) -> None:
    """Makes permute(permute(x)) one permute or none; permute(reshape(x)) that moves only axes of size 1, a reshape."""
    source = node.args[0]
    if is_permute(source):
        order = [order_of(source)[axis] for axis in order_of(node)]
        if order == sorted(order):
            node.replace_all_uses_with(source.args[0])
        else:
            node.args = (source.args[0], order)
    elif source.target is ATEN.reshape.default and only_singletons_move(
        source.meta["val"].shape, order_of(node)
    ):
        shape = [int(size) for size in node.meta["val"].shape]
        node.replace_all_uses_with(insert(node, ATEN.reshape.default, (source.args[0], shape)))


def _drop_permute(reshape: Node) -> None:
    """Turns reshape(permute(x)) into reshape(x) where only axes of size 1 move."""
    source = reshape.args[0]
    if is_permute(source) and only_singletons_move(source.args[0].meta["val"].shape, order_of(source)):
        reshape.args = (source.args[0], *reshape.args[1:])


def _sink_pointwise(graph_module: GraphModule, node: Node) -> None:
    order = _common_order(node.all_input_nodes)
    if order is None or node.meta["val"].ndim != len(order):
        return
    replaced: dict[Node, Node] = {}
    for source in node.all_input_nodes:
        if source.meta["val"].ndim == 0:
            continue
        found = unmoved(graph_module, source, order, node)
        if found is None:
            return
        replaced[source] = found
    node.args = map_arg(node.args, lambda n: replaced.get(n, n))
    node.kwargs = map_arg(node.kwargs, lambda n: replaced.get(n, n))
    revalue(node)
    _below(node, order)


def _sink_reduction(node: Node) -> None:
    source = node.args[0]
    if not is_permute(source) or len(node.args) < 2 or not isinstance(node.args[1], (list, tuple)):
        return
    order = order_of(source)
    axes = [int(axis) % len(order) for axis in node.args[1]] or list(range(len(order)))
    keeps = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
    left = [order[axis] for axis in range(len(order)) if axis not in axes]
    node.args = (source.args[0], [order[axis] for axis in axes], *node.args[2:])
    revalue(node)
    if keeps:
        _below(node, order)
    elif left != sorted(left):
        _below(node, [sorted(left).index(axis) for axis in left])


def _sink_cat(graph_module: GraphModule, node: Node) -> None:
    sources = list(node.args[0])
    order = _common_order(sources)
    if order is None:
        return
    found = [unmoved(graph_module, source, order, node) for source in sources]
    if any(one is None for one in found):
        return
    axis = int(node.args[1]) if len(node.args) > 1 else 0
    node.args = (found, order[axis % len(order)])
    revalue(node)
    _below(node, order)


def _sink_one_axis(node: Node) -> None:
    source = node.args[0]
    if not is_permute(source) or len(node.args) < 2:
        return
    order = order_of(source)
    node.args = (source.args[0], order[int(node.args[1]) % len(order)], *node.args[2:])
    revalue(node)
    _below(node, order)


def _sink_pad(node: Node) -> None:
    source = node.args[0]
    if not is_permute(source) or not pads_constant(node):
        return
    order = order_of(source)
    node.args = (source.args[0], pads_of(node, order), *node.args[2:])
    revalue(node)
    _below(node, order)


def _common_order(nodes: Sequence[Any]) -> Order | None:
    """Returns the order of all permutes among `nodes`; None if there is none or they differ."""
    orders = [order_of(node) for node in nodes if is_permute(node)]
    return orders[0] if orders and all(order == orders[0] for order in orders) else None


def _below(node: Node, order: Order) -> None:
    """Makes all readers of `node`, which now gives the unmoved tensor, read its permute."""
    moved = insert_after(node, ATEN.permute.default, (node, order))
    node.replace_all_uses_with(moved, delete_user_cb=lambda user: user is not moved)
