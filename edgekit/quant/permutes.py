"""A graph's permutes: what order one has, what commutes with it, and how a tensor looks without it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant.fake_values import insert
from edgekit.quant.keras_constants import constant_of, put_constant

ATEN = torch.ops.aten
Order = list[int]

PADS = {ATEN.pad.default, ATEN.constant_pad_nd.default}
EACH_NUMBER = {
    ATEN.dropout.default, ATEN.relu.default, ATEN.relu6.default, ATEN.hardtanh.default, ATEN.sigmoid.default,
    ATEN.silu.default, ATEN.hardswish.default, ATEN.hardsigmoid.default, ATEN.gelu.default, ATEN.elu.default,
    ATEN.leaky_relu.default,
}  # fmt: skip


def order_of(permute: Node) -> Order:
    """Returns the axes of the tensor before a permute, in the order behind it."""
    rank = permute.meta["val"].ndim
    return [int(axis) % rank for axis in permute.args[1]]


def is_permute(value: Any) -> bool:
    """Whether an argument is the answer of a permute."""
    return isinstance(value, Node) and value.target is ATEN.permute.default


def inverse(order: Order) -> Order:
    """Returns the order that undoes another."""
    return [order.index(axis) for axis in range(len(order))]


def only_singletons_move(shape: Sequence[int], order: Order) -> bool:
    """Whether permuting a tensor of `shape` keeps its numbers in order, so that a reshape does the same."""
    wide = [axis for axis in order if shape[axis] > 1]
    return wide == sorted(wide)


def is_pointwise(node: Node) -> bool:
    """Whether an operator looks at each number alone, or at those of one place."""
    if node.target in EACH_NUMBER:
        return True
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags


def unmoved(graph_module: GraphModule, value: Any, order: Order, before: Node) -> Node | None:
    """Returns the node u with permute(u, order) = `value`, broadcast to the rank of `order`.

    None where that would cost a permute.
    """
    if is_permute(value) and order_of(value) == order:
        return value.args[0]
    shape = [1] * (len(order) - value.meta["val"].ndim) + [int(size) for size in value.meta["val"].shape]
    constant = constant_of(graph_module, value)
    if constant is not None and len(shape) == len(order):
        moved = constant.reshape(shape).permute(inverse(order)).contiguous()
        return put_constant(graph_module, moved, before, "constant")
    if len(shape) == len(order) and only_singletons_move(shape, inverse(order)):
        return insert(before, ATEN.reshape.default, (value, [shape[axis] for axis in inverse(order)]))
    return None


def pads_constant(pad: Node) -> bool:
    """Whether the pad writes a constant: only such a pad may go on any axis."""
    mode = pad.args[2] if len(pad.args) > 2 else pad.kwargs.get("mode", "constant")
    return pad.target is ATEN.constant_pad_nd.default or mode == "constant"


def pads_of(pad: Node, order: Order) -> list[int]:
    """Returns the pad's pairs, last axis first, for the tensor whose axis order[i] is axis i of the padded one."""
    given = [int(p) for p in pad.args[1]]
    of_axis = {order[len(order) - 1 - i // 2]: given[i : i + 2] for i in range(0, len(given), 2)}
    pads = [p for axis in reversed(range(len(order))) for p in of_axis.get(axis, [0, 0])]
    while pads[-2:] == [0, 0]:
        del pads[-2:]
    return pads
