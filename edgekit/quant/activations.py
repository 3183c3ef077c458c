"""Activations in steps that all have integer kernels: the same function."""

from collections.abc import Callable

import torch
from torch.fx import GraphModule

from edgekit.quant import rules
from edgekit.quant.rewriting import call, calls, constant, replace, stored_value

ATEN = torch.ops.aten


def square_to_product(graph_module: GraphModule) -> None:
    """Rewrites x ** 2 as x * x."""
    for node in calls(graph_module, ATEN.pow.Tensor_Scalar):
        if node.args[1] == 2 and rules.is_float(node):
            node.target, node.args = ATEN.mul.Tensor, (node.args[0], node.args[0])


def silu_to_sigmoid(graph_module: GraphModule) -> None:
    """Rewrites silu(x) as x * sigmoid(x): sigmoid and mul have int8 kernels, silu has none."""
    for node in calls(graph_module, ATEN.silu.default):
        with graph_module.graph.inserting_before(node):
            sigmoid = call(graph_module, node, ATEN.sigmoid.default, (node.args[0],))
            replace(node, call(graph_module, node, ATEN.mul.Tensor, (node.args[0], sigmoid)))


def hardsigmoid_to_relu6(graph_module: GraphModule) -> None:
    """Rewrites hardsigmoid(x) as relu6(x + 3) / 6, in steps that all have int8 kernels."""
    for node in calls(graph_module, ATEN.hardsigmoid.default):
        with graph_module.graph.inserting_before(node):
            shifted = call(graph_module, node, ATEN.add.Tensor, (node.args[0], 3.0))
            clipped = call(graph_module, node, ATEN.hardtanh.default, (shifted, 0.0, 6.0))
            replace(node, call(graph_module, node, ATEN.mul.Tensor, (clipped, 1.0 / 6.0)))


def clamp_to_hardtanh(graph_module: GraphModule) -> None:
    """Rewrites clamp(x, low, high) as hardtanh and clamp(x, 0) as relu, which layers absorb."""
    for node in calls(graph_module, ATEN.clamp.default, ATEN.clamp_min.default):
        low, high = [*node.args[1:], None, None][:2]
        low, high = node.kwargs.get("min", low), node.kwargs.get("max", high)
        if not rules.is_float(node):
            continue
        if low is not None and high is not None:
            node.target, node.args, node.kwargs = ATEN.hardtanh.default, (node.args[0], low, high), {}
        elif low == 0 and high is None:
            node.target, node.args, node.kwargs = ATEN.relu.default, (node.args[0],), {}


def glu_to_product(graph_module: GraphModule) -> None:
    """Rewrites glu(x) as the first half times the sigmoid of the second."""
    for node in calls(graph_module, ATEN.glu.default):
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", -1)
        size = int(node.meta["val"].shape[dim])
        with graph_module.graph.inserting_before(node):
            value, gate = (
                call(graph_module, node, ATEN.slice.Tensor, (node.args[0], dim, start, start + size))
                for start in (0, size)
            )
            opened = call(graph_module, node, ATEN.sigmoid.default, (gate,))
            replace(node, call(graph_module, node, ATEN.mul.Tensor, (value, opened)))


def prelu_to_leaky(graph_module: GraphModule) -> None:
    """Rewrites a prelu with one slope as leaky_relu, and with one for each channel as x * w + relu(x) * (1 - w)."""
    for node in calls(graph_module, ATEN.prelu.default):
        slopes = stored_value(graph_module, node.args[1])
        if not isinstance(slopes, torch.Tensor):
            continue
        if bool((slopes == slopes.flatten()[0]).all()):
            node.target, node.args = ATEN.leaky_relu.default, (node.args[0], float(slopes.flatten()[0]))
            continue
        shape = [len(slopes) if axis == 1 else 1 for axis in range(node.meta["val"].dim())]
        below, above = (constant(graph_module, node, w.reshape(shape)) for w in (slopes, 1 - slopes))
        with graph_module.graph.inserting_before(node):
            positive = call(graph_module, node, ATEN.relu.default, (node.args[0],))
            parts = (
                call(graph_module, node, ATEN.mul.Tensor, part)
                for part in ((node.args[0], below), (positive, above))
            )
            replace(node, call(graph_module, node, ATEN.add.Tensor, tuple(parts)))


PASSES: list[Callable[[GraphModule], None]] = [
    square_to_product,
    silu_to_sigmoid,
    hardsigmoid_to_relu6,
    clamp_to_hardtanh,
    glu_to_product,
    prelu_to_leaky,
]
