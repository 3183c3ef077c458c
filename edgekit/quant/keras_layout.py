"""Moves the permutes of a channels-last graph down to where two of them cancel.

    permute(x, to last) -> relu -> permute(to first)    =    relu(x)

A permute commutes with what looks at each number alone, and with reductions, sums, joins and pads once their axes are
renamed. Sunk below those, it meets the permute in front of the next convolution, and both are the identity. What
remains is at the borders: the interface of the model, and a reshape that mixes axes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from edgekit.quant.keras_constants import constant_of, put_constant

ATEN = torch.ops.aten
Order = list[int]

_REDUCTIONS = {ATEN.mean.dim, ATEN.sum.dim_IntList, ATEN.amax.default, ATEN.amin.default}
_ONE_AXIS = {ATEN.softmax.int, ATEN.log_softmax.int, ATEN.slice.Tensor}
_PADS = {ATEN.pad.default, ATEN.constant_pad_nd.default}
_EACH_NUMBER = {
    ATEN.dropout.default, ATEN.relu.default, ATEN.relu6.default, ATEN.hardtanh.default, ATEN.sigmoid.default,
    ATEN.silu.default, ATEN.hardswish.default, ATEN.hardsigmoid.default, ATEN.gelu.default, ATEN.elu.default,
    ATEN.leaky_relu.default,
}  # fmt: skip


def channels_first(graph_module: GraphModule) -> None:
    """Sinks every permute below what commutes with it; it cancels where it meets its inverse."""
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is ATEN.permute.default:
            _compose(node)
        elif _is_pointwise(node):
            _sink_pointwise(graph_module, node)
        elif node.target in _REDUCTIONS:
            _sink_reduction(node)
        elif node.target is ATEN.cat.default:
            _sink_cat(graph_module, node)
        elif node.target in _ONE_AXIS:
            _sink_one_axis(node)
        elif node.target in _PADS:
            _sink_pad(node)
        elif node.target is ATEN.reshape.default:
            _drop_permute(node)


def permute_input_first(graph_module: GraphModule) -> None:
    """Moves what stands between an input and its permute (a pad, a rescaling) below it, and makes equal permutes one.

    A pad then stands before its convolution and may join it, and every exporter sees which layout the input has.
    """
    seen: dict[tuple[Node, str], Node] = {}
    for node in list(graph_module.graph.nodes):
        if not _is_permute(node):
            continue
        if _reaches_input(graph_module, node.args[0]):
            while node.args[0].op != "placeholder":
                node = _lift(graph_module, node)
        first = seen.setdefault((node.args[0], str(_order(node))), node)
        if first is not node:
            node.replace_all_uses_with(first)


def flatten_channels_first(graph_module: GraphModule) -> None:
    """Reorders the columns of W so that `x -> permute to last -> flatten -> linear(W)` needs no permute."""
    for linear in list(graph_module.graph.nodes):
        if linear.target is not ATEN.linear.default:
            continue
        flatten = linear.args[0]
        while isinstance(flatten, Node) and flatten.target in _EACH_NUMBER and len(flatten.users) == 1:
            flatten = flatten.args[0]
        weight = constant_of(graph_module, linear.args[1])
        if weight is None or not _is_flatten(flatten):
            continue
        source, order = flatten.args[0].args[0], _order(flatten.args[0])
        shape = [source.meta["val"].shape[axis] for axis in order[1:]]
        back = [0, *(1 + order[1:].index(axis) for axis in range(1, len(order)))]
        columns = weight.reshape(-1, *shape).permute(back).reshape(weight.shape)
        reordered = put_constant(graph_module, columns.contiguous(), linear, "kernel")
        flatten.args = (source, *flatten.args[1:])
        linear.args = (linear.args[0], reordered, *linear.args[2:])


def insert(before: Node, target: Any, args: tuple[Any, ...], origin: Node | None = None) -> Node:
    """Inserts a call in front of another node.

    Args:
        before: The node that the new call is put in front of.
        target: The operator to call.
        args: Its arguments.
        origin: The node whose module the call belongs to; `before` where it is None.

    Returns:
        The new node, with the fake value that it has.
    """
    with before.graph.inserting_before(before):
        node = before.graph.call_function(target, args)
    _fill(node, origin or before)
    return node


def _insert_after(last: Node, target: Any, args: tuple[Any, ...]) -> Node:
    with last.graph.inserting_after(last):
        node = last.graph.call_function(target, args)
    _fill(node, last)
    return node


def _fill(node: Node, origin: Node) -> None:
    node.meta = {key: value for key, value in origin.meta.items() if key != "val"}
    _revalue(node)


def _revalue(node: Node) -> None:
    """Sets the fake value of a node whose arguments changed."""
    args = map_arg(node.args, lambda n: n.meta["val"])
    kwargs = map_arg(node.kwargs, lambda n: n.meta["val"])
    with torch.no_grad():
        node.meta["val"] = node.target(*args, **kwargs)  # type: ignore[operator]


def _order(permute: Node) -> Order:
    rank = permute.meta["val"].ndim
    return [int(axis) % rank for axis in permute.args[1]]


def _is_permute(value: Any) -> bool:
    return isinstance(value, Node) and value.target is ATEN.permute.default


def _inverse(order: Order) -> Order:
    return [order.index(axis) for axis in range(len(order))]


def _only_singletons_move(shape: Sequence[int], order: Order) -> bool:
    """Whether permuting a tensor of `shape` keeps its numbers in order, so that a reshape does the same."""
    wide = [axis for axis in order if shape[axis] > 1]
    return wide == sorted(wide)


def _compose(node: Node) -> None:
    """Makes permute(permute(x)) one permute or none; permute(reshape(x)) that moves only axes of size 1, a reshape."""
    source = node.args[0]
    if _is_permute(source):
        order = [_order(source)[axis] for axis in _order(node)]
        if order == sorted(order):
            node.replace_all_uses_with(source.args[0])
        else:
            node.args = (source.args[0], order)
    elif source.target is ATEN.reshape.default and _only_singletons_move(
        source.meta["val"].shape, _order(node)
    ):
        shape = [int(size) for size in node.meta["val"].shape]
        node.replace_all_uses_with(insert(node, ATEN.reshape.default, (source.args[0], shape)))


def _reaches_input(graph_module: GraphModule, node: Node) -> bool:
    """Whether only pads and arithmetic with constants, read by no other node, lie between an input and `node`."""
    while node.op != "placeholder":
        if len(node.users) > 1 or not (
            _is_pointwise(node) or (node.target in _PADS and _pads_constant(node))
        ):
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
    source, order = permute.args[0], _order(permute)
    moved = insert(permute, ATEN.permute.default, (source.args[0], order))
    if source.target in _PADS:
        rest = (_pads_of(source, _inverse(order)), *source.args[2:])
    else:
        held = {n: _unmoved(graph_module, n, _inverse(order), permute) for n in source.all_input_nodes[1:]}
        rest = map_arg(source.args[1:], lambda n: held.get(n) or n)
    below = insert(permute, source.target, (moved, *rest))
    below.kwargs = source.kwargs
    _fill(below, source)
    permute.replace_all_uses_with(below)
    return moved


def _drop_permute(reshape: Node) -> None:
    """Turns reshape(permute(x)) into reshape(x) where only axes of size 1 move."""
    source = reshape.args[0]
    if _is_permute(source) and _only_singletons_move(source.args[0].meta["val"].shape, _order(source)):
        reshape.args = (source.args[0], *reshape.args[1:])


def _is_pointwise(node: Node) -> bool:
    if node.target in _EACH_NUMBER:
        return True
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags


def _common_order(nodes: Sequence[Any]) -> Order | None:
    """Returns the order of all permutes among `nodes`; None if there is none or they differ."""
    orders = [_order(node) for node in nodes if _is_permute(node)]
    return orders[0] if orders and all(order == orders[0] for order in orders) else None


def _unmoved(graph_module: GraphModule, value: Any, order: Order, before: Node) -> Node | None:
    """Returns the node u with permute(u, order) = `value`, broadcast to the rank of `order`.

    None where that would cost a permute.
    """
    if _is_permute(value) and _order(value) == order:
        return value.args[0]
    shape = [1] * (len(order) - value.meta["val"].ndim) + [int(size) for size in value.meta["val"].shape]
    constant = constant_of(graph_module, value)
    if constant is not None and len(shape) == len(order):
        moved = constant.reshape(shape).permute(_inverse(order)).contiguous()
        return put_constant(graph_module, moved, before, "constant")
    if len(shape) == len(order) and _only_singletons_move(shape, _inverse(order)):
        return insert(before, ATEN.reshape.default, (value, [shape[axis] for axis in _inverse(order)]))
    return None


def _below(node: Node, order: Order) -> None:
    """Makes all readers of `node`, which now gives the unmoved tensor, read its permute."""
    moved = _insert_after(node, ATEN.permute.default, (node, order))
    node.replace_all_uses_with(moved, delete_user_cb=lambda user: user is not moved)


def _sink_pointwise(graph_module: GraphModule, node: Node) -> None:
    order = _common_order(node.all_input_nodes)
    if order is None or node.meta["val"].ndim != len(order):
        return
    unmoved: dict[Node, Node] = {}
    for source in node.all_input_nodes:
        if source.meta["val"].ndim == 0:
            continue
        found = _unmoved(graph_module, source, order, node)
        if found is None:
            return
        unmoved[source] = found
    node.args = map_arg(node.args, lambda n: unmoved.get(n, n))
    node.kwargs = map_arg(node.kwargs, lambda n: unmoved.get(n, n))
    _revalue(node)
    _below(node, order)


def _sink_reduction(node: Node) -> None:
    source = node.args[0]
    if not _is_permute(source) or len(node.args) < 2 or not isinstance(node.args[1], (list, tuple)):
        return
    order = _order(source)
    axes = [int(axis) % len(order) for axis in node.args[1]] or list(range(len(order)))
    keeps = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
    left = [order[axis] for axis in range(len(order)) if axis not in axes]
    node.args = (source.args[0], [order[axis] for axis in axes], *node.args[2:])
    _revalue(node)
    if keeps:
        _below(node, order)
    elif left != sorted(left):
        _below(node, [sorted(left).index(axis) for axis in left])


def _sink_cat(graph_module: GraphModule, node: Node) -> None:
    sources = list(node.args[0])
    order = _common_order(sources)
    if order is None:
        return
    found = [_unmoved(graph_module, source, order, node) for source in sources]
    if any(one is None for one in found):
        return
    axis = int(node.args[1]) if len(node.args) > 1 else 0
    node.args = (found, order[axis % len(order)])
    _revalue(node)
    _below(node, order)


def _sink_one_axis(node: Node) -> None:
    source = node.args[0]
    if not _is_permute(source) or len(node.args) < 2:
        return
    order = _order(source)
    node.args = (source.args[0], order[int(node.args[1]) % len(order)], *node.args[2:])
    _revalue(node)
    _below(node, order)


def _sink_pad(node: Node) -> None:
    source = node.args[0]
    if not _is_permute(source) or not _pads_constant(node):
        return
    order = _order(source)
    node.args = (source.args[0], _pads_of(node, order), *node.args[2:])
    _revalue(node)
    _below(node, order)


def _pads_constant(pad: Node) -> bool:
    """Whether the pad writes a constant: only such a pad may go on any axis."""
    mode = pad.args[2] if len(pad.args) > 2 else pad.kwargs.get("mode", "constant")
    return pad.target is ATEN.constant_pad_nd.default or mode == "constant"


def _pads_of(pad: Node, order: Order) -> list[int]:
    """Returns the pad's pairs, last axis first, for the tensor whose axis order[i] is axis i of the padded one."""
    given = [int(p) for p in pad.args[1]]
    of_axis = {order[len(order) - 1 - i // 2]: given[i : i + 2] for i in range(0, len(given), 2)}
    pads = [p for axis in reversed(range(len(order))) for p in of_axis.get(axis, [0, 0])]
    while pads[-2:] == [0, 0]:
        del pads[-2:]
    return pads


def _is_flatten(node: Any) -> bool:
    """Whether `node` reshapes a permuted feature map, which nothing else reads, to [N, all]."""
    if not isinstance(node, Node) or node.target is not ATEN.reshape.default or len(node.users) != 1:
        return False
    source = node.args[0]
    if not _is_permute(source) or _order(source)[0] != 0:
        return False
    shape = source.meta["val"].shape
    return tuple(node.meta["val"].shape) == (shape[0], shape[1:].numel())
