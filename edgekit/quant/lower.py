"""Rewrites for integer targets only, between tracing and annotation; float exports keep the original operators.

A runtime computes in int8 only what it has an int8 kernel for. These passes say the same function with operators that
have one. A literal list, in order.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import rules

ATEN = torch.ops.aten


def lower_for_integers(graph_module: GraphModule) -> GraphModule:
    for rewrite in PASSES:
        rewrite(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def silu_to_sigmoid(graph_module: GraphModule) -> None:
    """silu(x) = x * sigmoid(x): sigmoid and mul have int8 kernels, silu has none."""
    for node in _calls(graph_module, ATEN.silu.default):
        with graph_module.graph.inserting_before(node):
            sigmoid = _call(graph_module, node, ATEN.sigmoid.default, (node.args[0],))
            _replace(node, _call(graph_module, node, ATEN.mul.Tensor, (node.args[0], sigmoid)))


def hardsigmoid_to_relu6(graph_module: GraphModule) -> None:
    """hardsigmoid(x) = relu6(x + 3) / 6, in steps that are all int8."""
    for node in _calls(graph_module, ATEN.hardsigmoid.default):
        with graph_module.graph.inserting_before(node):
            shifted = _call(graph_module, node, ATEN.add.Tensor, (node.args[0], 3.0))
            clipped = _call(graph_module, node, ATEN.hardtanh.default, (shifted, 0.0, 6.0))
            _replace(node, _call(graph_module, node, ATEN.mul.Tensor, (clipped, 1.0 / 6.0)))


def constants_to_tensors(graph_module: GraphModule) -> None:
    """x - c and x / c become x + (-c) and x * (1 / c); a scalar c becomes a tensor, which can be quantized."""
    inverse = {ATEN.sub.Tensor: (ATEN.add.Tensor, -1), ATEN.div.Tensor: (ATEN.mul.Tensor, 1)}
    for node in _calls(graph_module, ATEN.add.Tensor, ATEN.mul.Tensor, *inverse):
        value = node.args[1]
        if (
            not isinstance(value, (int, float))
            or not rules.is_float(node)
            or node.kwargs.get("alpha", 1) != 1
        ):
            continue
        if node.target in inverse:
            value = -value if node.target is ATEN.sub.Tensor else 1.0 / value
            node.target = inverse[node.target][0]
        node.args = (node.args[0], _constant(graph_module, node, float(value)))
        node.kwargs = {}


def chunk_to_slices(graph_module: GraphModule) -> None:
    """The parts of a chunk or split become slices, which share the range of what they cut."""
    for node in _calls(graph_module, ATEN.chunk.default, ATEN.split.Tensor, ATEN.split_with_sizes.default):
        dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
        parts = node.meta["val"]
        starts = [sum(int(p.shape[dim]) for p in parts[:i]) for i in range(len(parts))]
        for user in list(node.users):
            index = user.args[1]
            with graph_module.graph.inserting_before(user):
                end = starts[index] + int(parts[index].shape[dim])
                cut = _call(graph_module, user, ATEN.slice.Tensor, (node.args[0], dim, starts[index], end))
            _replace(user, cut)


def stack_to_cat(graph_module: GraphModule) -> None:
    """A stack is a concatenation of tensors with one more dimension, and has its rules."""
    for node in _calls(graph_module, ATEN.stack.default):
        dim = (node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)) % node.meta["val"].dim()
        with graph_module.graph.inserting_before(node):
            parts = [_call(graph_module, part, ATEN.unsqueeze.default, (part, dim)) for part in node.args[0]]
            for part in parts:
                part.meta["val"] = part.meta["val"].unsqueeze(dim)
            _replace(node, _call(graph_module, node, ATEN.cat.default, (parts, dim)))


PASSES: list[Callable[[GraphModule], None]] = [
    silu_to_sigmoid,
    hardsigmoid_to_relu6,
    constants_to_tensors,
    chunk_to_slices,
    stack_to_cat,
]


def _calls(graph_module: GraphModule, *targets: Any) -> list[Node]:
    return [
        node for node in graph_module.graph.nodes if node.op == "call_function" and node.target in targets
    ]


def _call(graph_module: GraphModule, like: Node, target: Any, args: tuple[Any, ...]) -> Node:
    """A call with the shape, type and origin of `like`."""
    node = graph_module.graph.call_function(target, args)
    node.meta = {key: value for key, value in like.meta.items() if key != "quantization_annotation"}
    return node


def _replace(old: Node, new: Node) -> None:
    old.replace_all_uses_with(new)
    old.graph.erase_node(old)


def _constant(graph_module: GraphModule, before: Node, value: float) -> Node:
    """A one-element tensor [1, ..., 1] of the rank of `before`, as an attribute of the module."""
    number = 0
    while hasattr(graph_module, f"_constant_{number}"):
        number += 1
    like = before.meta["val"]
    tensor = torch.full([1] * like.dim(), value)
    graph_module.register_buffer(f"_constant_{number}", tensor)
    with graph_module.graph.inserting_before(before):
        node = graph_module.graph.get_attr(f"_constant_{number}")
    node.meta["val"] = like.fake_mode.from_tensor(tensor) if hasattr(like, "fake_mode") else tensor
    return node
