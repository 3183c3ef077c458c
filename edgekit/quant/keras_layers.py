"""Layers that Keras writes as plain arithmetic become torch's: batch normalization, dense layers, biases."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant.fake_values import insert
from edgekit.quant.keras_constants import constant_of, get_constant, put_constant

ATEN = torch.ops.aten

_CONV_RANK = {ATEN.conv1d.default: 1, ATEN.conv2d.default: 2, ATEN.conv3d.default: 3}
_MOMENTUM = 0.01  # 1 - 0.99, of Keras; only training reads it


def batch_norms(graph_module: GraphModule) -> None:
    """Makes a batch_norm of (x - mean) * (rsqrt(variance + epsilon) * gamma) + beta, between two permutes if need be."""
    for shift in list(graph_module.graph.nodes):
        found = _match_batch_norm(shift)
        if found is None:
            continue
        x, stats, epsilon = found
        axis = _channel_axis(stats["mean"])
        rank = x.meta["val"].ndim
        if axis is None or rank < 2:
            continue
        held = {name: get_constant(graph_module, node) for name, node in stats.items()}
        if any(value is None for value in held.values()):
            continue
        nodes = {
            name: put_constant(
                graph_module, value.reshape(-1), shift, name, trained=name in ("gamma", "beta")
            )
            for name, value in held.items()
            if value is not None
        }
        first = [0, axis, *(i for i in range(1, rank) if i != axis)]
        if axis != 1:
            x = insert(shift, ATEN.permute.default, (x, first))
        norm = insert(
            shift,
            ATEN.batch_norm.default,
            (x, *(nodes[n] for n in ("gamma", "beta", "mean", "variance")), False, _MOMENTUM, epsilon, True),
        )
        if axis != 1:
            norm = insert(shift, ATEN.permute.default, (norm, [first.index(i) for i in range(rank)]))
        shift.replace_all_uses_with(norm)


def dense_layers(graph_module: GraphModule) -> None:
    """Rewrites matmul(x, W) + b as linear(x, W transposed, b)."""
    for node in list(graph_module.graph.nodes):
        if node.target is not ATEN.matmul.default or node.args[0].meta["val"].ndim < 2:
            continue
        weight = constant_of(graph_module, node.args[1])
        if weight is None or weight.ndim != 2:
            continue
        total, bias = _added(graph_module, node, weight.shape[1:])
        held = None if bias is None else put_constant(graph_module, bias.reshape(-1), node, "bias")
        turned = put_constant(graph_module, weight.t().contiguous(), node, "kernel")
        linear = insert(total, ATEN.linear.default, (node.args[0], turned, held), origin=node)
        total.replace_all_uses_with(linear)


def conv_biases(graph_module: GraphModule) -> None:
    """Makes a constant per channel, added to the output of a convolution without a bias, the bias of that convolution."""
    for node in list(graph_module.graph.nodes):
        rank = _CONV_RANK.get(node.target)
        if rank is None or (len(node.args) > 2 and node.args[2] is not None):
            continue
        channels = node.meta["val"].shape[1]
        total, bias = _added(graph_module, node, (channels, *[1] * rank))
        if bias is None:
            continue
        held = put_constant(graph_module, bias.reshape(-1), node, "bias")
        with_bias = insert(total, node.target, (*node.args[:2], held, *node.args[3:]), origin=node)
        total.replace_all_uses_with(with_bias)


def _match_batch_norm(shift: Node) -> tuple[Node, dict[str, Node], float] | None:
    """Matches the last sum of a batch norm.

    Returns:
        (x, the nodes of mean, variance, gamma and beta, epsilon); None where `shift` is not such a sum.
    """
    outer = _operands(shift, ATEN.add.Tensor)
    scaled = _operands(outer[0], ATEN.mul.Tensor) if outer else None
    centred = _operands(scaled[0], ATEN.sub.Tensor) if scaled else None
    factor = _operands(scaled[1], ATEN.mul.Tensor) if scaled else None
    if outer is None or scaled is None or centred is None or factor is None:
        return None
    root = factor[0]
    inner = (
        _operands(root.args[0], ATEN.add.Tensor)
        if isinstance(root, Node) and root.target is ATEN.rsqrt.default
        else None
    )
    if inner is None or not isinstance(inner[1], float):
        return None
    if any(len(node.users) > 1 for node in (outer[0], scaled[0])):
        return None
    stats = {"mean": centred[1], "variance": inner[0], "gamma": factor[1], "beta": outer[1]}
    return centred[0], stats, inner[1]


def _channel_axis(mean: Node) -> int | None:
    """Returns the axis of [1, 1, 1, C] that is not 1; the last one where C is 1 as well."""
    shape = mean.meta["val"].shape
    wide = [i for i, size in enumerate(shape) if size > 1]
    return None if len(wide) > 1 or not shape else (wide or [len(shape) - 1])[0]


def _added(graph_module: GraphModule, node: Node, shape: tuple[int, ...]) -> tuple[Node, torch.Tensor | None]:
    """Returns the sum of `node` and a constant of `shape`, and that constant; `node` and None where no such sum follows."""
    user = next(iter(node.users)) if len(node.users) == 1 else None
    pair = _operands(user, ATEN.add.Tensor)
    if user is None or pair is None or pair[0] is not node:
        return node, None
    value = constant_of(graph_module, pair[1])
    if value is None or tuple(value.shape)[value.ndim - len(shape) :] != tuple(shape):
        return node, None
    return (user, value) if value.numel() == torch.Size(shape).numel() else (node, None)


def _operands(value: Any, target: Any) -> tuple[Any, Any] | None:
    """Returns the two arguments of a call of `target`; None for anything else or a call with an alpha."""
    if not isinstance(value, Node) or value.target is not target or value.kwargs or len(value.args) != 2:
        return None
    return value.args[0], value.args[1]
