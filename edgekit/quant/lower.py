"""Rewrites for integer targets only, between tracing and annotation; float exports keep the original operators.

A runtime computes in int8 only what it has an int8 kernel for. These passes say the same function with operators that
have one. A literal list, in order.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import activations, attention_products, concat, proven, rules
from edgekit.quant.rewriting import call, calls, constant, replace, stored_value
from edgekit.quant.transposed import transposed_to_convolution

ATEN = torch.ops.aten


def lower_for_integers(graph_module: GraphModule, full: bool = False, products: bool = False) -> GraphModule:
    """Runs every pass, in order; one that would change what the graph computes is undone, and logged.

    Args:
        graph_module: The traced graph, rewritten in place.
        full: Whether the target is a runtime that computes whole networks in integers.
        products: Whether products of two activations become integers.

    Returns:
        The same graph.
    """
    before = proven.of_graph(graph_module)
    transposed = partial(transposed_to_convolution, native=full)
    apart = attention_products.PASSES if products else []
    proven.rewrite(graph_module, [*apart, *PASSES, transposed, *(FULL if full else [])], before)
    return graph_module


def constants_in_place(graph_module: GraphModule) -> None:
    """Turns a literal that forward makes and shapes, `torch.tensor([...]).view(1, 4, 1)`, into one stored tensor."""
    for node in calls(graph_module, *rules.RESHAPES):
        value = stored_value(graph_module, node.args[0])
        if isinstance(value, torch.Tensor):
            replace(node, constant(graph_module, node, node.target(value, *node.args[1:], **node.kwargs)))


def constants_to_tensors(graph_module: GraphModule) -> None:
    """Rewrites x - c and x / c as x + (-c) and x * (1 / c); a scalar c becomes a tensor, which can be quantized."""
    inverse = {ATEN.sub.Tensor: ATEN.add.Tensor, ATEN.div.Tensor: ATEN.mul.Tensor}
    for node in calls(graph_module, ATEN.add.Tensor, ATEN.mul.Tensor, *inverse):
        value = stored_value(graph_module, node.args[1])
        stored = isinstance(node.args[1], Node)
        if value is None or not rules.is_float(node) or node.kwargs.get("alpha", 1) != 1:
            continue
        if node.target in inverse:
            value = -value if node.target is ATEN.sub.Tensor else 1.0 / value
            node.target = inverse[node.target]
        elif stored:
            continue
        node.args = (node.args[0], constant(graph_module, node, value))
        node.kwargs = {}


def chunk_to_slices(graph_module: GraphModule) -> None:
    """Rewrites the parts of a chunk or split as slices, which share the range of what they cut."""
    for node in calls(graph_module, ATEN.chunk.default, ATEN.split.Tensor, ATEN.split_with_sizes.default):
        dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
        parts = node.meta["val"]
        starts = [sum(int(p.shape[dim]) for p in parts[:i]) for i in range(len(parts))]
        for user in list(node.users):
            index = user.args[1]
            with graph_module.graph.inserting_before(user):
                end = starts[index] + int(parts[index].shape[dim])
                cut = call(graph_module, user, ATEN.slice.Tensor, (node.args[0], dim, starts[index], end))
            replace(user, cut)


def slices_to_layers(graph_module: GraphModule) -> None:
    """Makes a layer of each slice of a layer's channels, where their weights differ more than APART times in size.

    One range over all channels would leave the smaller ones a few of its steps. The work stays the same.
    """
    for node in calls(graph_module, *rules.MAC):
        rank, cuts = node.meta["val"].dim(), list(node.users)
        axis = 1 if rules.conv_rank(node) else rank - 1
        weight, bias = (stored_value(graph_module, value) for value in [*node.args, None][1:3])
        has_bias = len(node.args) > 2 and node.args[2] is not None
        grouped = bool(rules.conv_rank(node)) and len(node.args) > 6 and node.args[6] != 1
        if (
            not isinstance(weight, torch.Tensor)
            or (has_bias and not isinstance(bias, torch.Tensor))
            or grouped
        ):
            continue
        if len(cuts) < 2 or not all(_cuts(cut, axis, rank) for cut in cuts):
            continue
        places = [slice(*[*cut.args[2:], None, None][:2]) for cut in cuts]
        sizes = [float(weight[place].flatten(1).norm(dim=1).max()) for place in places]
        if max(sizes) <= concat.APART * min(sizes):
            continue
        stored = [weight, bias] if isinstance(bias, torch.Tensor) else [weight]
        for cut, place in zip(cuts, places, strict=True):
            parts = [constant(graph_module, cut, value[place]) for value in stored]
            rest = node.args[3:] if has_bias else [None, *node.args[3:]][: max(0, len(node.args) - 2)]
            with graph_module.graph.inserting_before(cut):
                replace(cut, call(graph_module, cut, node.target, (node.args[0], *parts, *rest)))
        graph_module.graph.erase_node(node)


def _cuts(node: Node, axis: int, rank: int) -> bool:
    """Whether `node` takes neighbours along one axis."""
    args = [*node.args, 0, None, None, 1]
    return (
        node.target is ATEN.slice.Tensor
        and args[1] % rank == axis
        and (len(node.args) < 5 or node.args[4] == 1)
    )


def stack_to_cat(graph_module: GraphModule) -> None:
    """Rewrites a stack as a concatenation of tensors with one more dimension, which follows the rules of cat."""
    for node in calls(graph_module, ATEN.stack.default):
        dim = (node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)) % node.meta["val"].dim()
        with graph_module.graph.inserting_before(node):
            parts = [call(graph_module, part, ATEN.unsqueeze.default, (part, dim)) for part in node.args[0]]
            for part in parts:
                part.meta["val"] = part.meta["val"].unsqueeze(dim)
            replace(node, call(graph_module, node, ATEN.cat.default, (parts, dim)))


def rsub_to_sub(graph_module: GraphModule) -> None:
    """Rewrites 1 - x with the 1 as a tensor."""
    for node in calls(graph_module, ATEN.rsub.Scalar):
        if rules.is_float(node) and [*node.args[2:], node.kwargs.get("alpha", 1)][0] == 1:
            minuend = constant(graph_module, node, float(node.args[1]))
            node.target, node.args, node.kwargs = ATEN.sub.Tensor, (minuend, node.args[0]), {}


def softmax_last(graph_module: GraphModule) -> None:
    """Moves the dimension of a softmax to the last place, where its kernels need it.

    An image's softmax over channels needs no move: channels are last in TFLite.
    """
    for node in calls(graph_module, ATEN.softmax.int):
        rank = node.meta["val"].dim()
        dim = node.args[1] % rank
        if dim == rank - 1 or (rank, dim) == (4, 1):
            continue
        with graph_module.graph.inserting_before(node):
            moved = _transposed(graph_module, node.args[0], dim)
            done = call(graph_module, moved, node.target, (moved, -1, *node.args[2:]))
            replace(node, _transposed(graph_module, done, dim))


def _transposed(graph_module: GraphModule, node: Node, dim: int) -> Node:
    moved = call(graph_module, node, ATEN.transpose.int, (node, dim, -1))
    moved.meta["val"] = node.meta["val"].transpose(dim, -1)
    return moved


def norm_to_layer(graph_module: GraphModule) -> None:
    """Turns a batch norm that no layer absorbs into a depthwise convolution of one pixel; of [N, C], into x * a + b.

    So it has a scale for each channel, which a product with a constant does not have.
    """
    for node in calls(graph_module, *rules.NORM):
        if node.args[5] or not _is_made_in_integers(node.args[0]):
            continue
        factor, shift = _affine(graph_module, node)
        rank = node.meta["val"].dim() - 2
        with graph_module.graph.inserting_before(node):
            if rank in DEPTHWISE:
                weight = constant(graph_module, node, factor.reshape(-1, 1, *[1] * rank))
                bias = constant(graph_module, node, shift)
                ones = [1] * rank
                layer = (node.args[0], weight, bias, ones, [0] * rank, ones, len(factor))
                replace(node, call(graph_module, node, DEPTHWISE[rank], layer))
            elif rank == 0:
                factors, shifts = (constant(graph_module, node, v[None]) for v in (factor, shift))
                scaled = call(graph_module, node, ATEN.mul.Tensor, (node.args[0], factors))
                replace(node, call(graph_module, node, ATEN.add.Tensor, (scaled, shifts)))


def _is_made_in_integers(source: Node) -> bool:
    """Whether `source` is an input, or what the quantizer may make integers; a layer absorbs the norm behind it."""
    known = rules.UNARY | rules.BINARY_FULL | rules.SHARE | rules.FIXED.keys() | {ATEN.cat.default}
    return (
        source.op == "placeholder"
        or source.target in known
        or (source.target in rules.MAC and len(source.users) > 1)
    )


def _affine(graph_module: GraphModule, norm: Node) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a batch norm as x * factor + shift, per channel."""
    weight, bias, mean, variance = (stored_value(graph_module, value) for value in norm.args[1:5])
    assert isinstance(mean, torch.Tensor) and isinstance(variance, torch.Tensor)
    factor = torch.rsqrt(variance + norm.args[7]) * (1.0 if weight is None else weight)
    return factor, (0.0 if bias is None else bias) - mean * factor


def product_to_linear(graph_module: GraphModule) -> None:
    """Rewrites x @ W with a stored W as a linear layer, which has a scale for each column of W."""
    for node in calls(graph_module, ATEN.matmul.default, ATEN.mm.default):
        weight = stored_value(graph_module, node.args[1])
        if isinstance(weight, torch.Tensor) and weight.dim() == 2 and rules.is_float(node.args[0]):
            stored = constant(graph_module, node, weight.t().contiguous())
            node.target, node.args = ATEN.linear.default, (node.args[0], stored)


PASSES: list[Callable[[GraphModule], None]] = [
    constants_in_place,
    *activations.PASSES,
    constants_to_tensors,
    product_to_linear,
    chunk_to_slices,
    slices_to_layers,
    stack_to_cat,
]
FULL: list[Callable[[GraphModule], None]] = [rsub_to_sub, softmax_last, norm_to_layer]
DEPTHWISE = {1: ATEN.conv1d.default, 2: ATEN.conv2d.default}
