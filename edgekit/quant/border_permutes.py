"""The permutes that remain at the borders of a channels-last graph: at its inputs, and where it flattens a feature map."""

from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from edgekit.quant.fake_values import fill_meta, insert
from edgekit.quant.keras_constants import constant_of, put_constant
from edgekit.quant.permutes import (
    EACH_NUMBER,
    PADS,
    inverse,
    is_permute,
    is_pointwise,
    order_of,
    pads_constant,
    pads_of,
    unmoved,
)

ATEN = torch.ops.aten


def permute_input_first(graph_module: GraphModule) -> None:
    """Moves what stands between an input and its permute (a pad, a rescaling) below it, and makes equal permutes one.

    A pad then stands before its convolution and may join it, and every exporter sees which layout the input has.
    """
    seen: dict[tuple[Node, str], Node] = {}
    for node in list(graph_module.graph.nodes):
        if not is_permute(node):
            continue
        if _reaches_input(graph_module, node.args[0]):
            while node.args[0].op != "placeholder":
                node = _lift(graph_module, node)
        first = seen.setdefault((node.args[0], str(order_of(node))), node)
        if first is not node:
            node.replace_all_uses_with(first)


def flatten_channels_first(graph_module: GraphModule) -> None:
    """Reorders the columns of W so that `x -> permute to last -> flatten -> linear(W)` needs no permute."""
    for linear in list(graph_module.graph.nodes):
        if linear.target is not ATEN.linear.default:
            continue
        flatten = linear.args[0]
        while isinstance(flatten, Node) and flatten.target in EACH_NUMBER and len(flatten.users) == 1:
            flatten = flatten.args[0]
        weight = constant_of(graph_module, linear.args[1])
        if weight is None or not _is_flatten(flatten):
            continue
        source, order = flatten.args[0].args[0], order_of(flatten.args[0])
        shape = [source.meta["val"].shape[axis] for axis in order[1:]]
        back = [0, *(1 + order[1:].index(axis) for axis in range(1, len(order)))]
        columns = weight.reshape(-1, *shape).permute(back).reshape(weight.shape)
        reordered = put_constant(graph_module, columns.contiguous(), linear, "kernel")
        flatten.args = (source, *flatten.args[1:])
        linear.args = (linear.args[0], reordered, *linear.args[2:])


def _reaches_input(graph_module: GraphModule, node: Node) -> bool:
    """Whether only pads and arithmetic with constants, read by no other node, lie between an input and `node`."""
    while node.op != "placeholder":
        if len(node.users) > 1 or not (is_pointwise(node) or (node.target in PADS and pads_constant(node))):
            return False
        inputs = [n for n in node.all_input_nodes if constant_of(graph_module, n) is None]
        if (
            len(inputs) != 1
            or inputs[0] is not node.args[0]
            or inputs[0].meta["val"].ndim != node.meta["val"].ndim
        ):
            return False
        node = inputs[0]
    return True


def _lift(graph_module: GraphModule, permute: Node) -> Node:
    """Turns permute(f(x)) into f(permute(x)); returns the new permute."""
    source, order = permute.args[0], order_of(permute)
    moved = insert(permute, ATEN.permute.default, (source.args[0], order))
    if source.target in PADS:
        rest = (pads_of(source, inverse(order)), *source.args[2:])
    else:
        held = {n: unmoved(graph_module, n, inverse(order), permute) for n in source.all_input_nodes[1:]}
        rest = map_arg(source.args[1:], lambda n: held.get(n) or n)
    below = insert(permute, source.target, (moved, *rest))
    below.kwargs = source.kwargs
    fill_meta(below, source)
    permute.replace_all_uses_with(below)
    return moved


def _is_flatten(node: Any) -> bool:
    """Whether `node` reshapes a permuted feature map, which nothing else reads, to [N, all]."""
    if not isinstance(node, Node) or node.target is not ATEN.reshape.default or len(node.users) != 1:
        return False
    source = node.args[0]
    if not is_permute(source) or order_of(source)[0] != 0:
        return False
    shape = source.meta["val"].shape
    return tuple(node.meta["val"].shape) == (shape[0], shape[1:].numel())
