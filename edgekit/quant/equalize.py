"""Cross-layer equalization: the channels between two layers get similar ranges, and the function stays the same.

relu(s x) = s relu(x) for s > 0: channel i that one layer writes can be divided by s_i (its weights and bias), if the
next layer multiplies the weights that read it by s_i. With s_i = sqrt(r1_i / r2_i), where r1_i and r2_i are the largest
magnitudes of the weights that write and read the channel, both become sqrt(r1_i r2_i): no channel is lost in the
steps that the widest one dictates. Chains of layers (pointwise, depthwise, pointwise) are swept until they settle.
Not through relu6, hardswish or silu: they are not proportional, so these pairs are left out, and counted.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721), section
4.1. It was made for one scale a tensor. With one scale per output channel it mends only the activations between
the layers, and may degrade the second weight; so `edgekit.techniques.ptq` measures. Cost: milliseconds; nothing at run time.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import proven, rules, tensors
from edgekit.quant.fold import fold_batch_norms
from edgekit.quant.program import calls
from edgekit.records import Record

ATEN = torch.ops.aten
SWEEPS = 20
SETTLED = 1e-3  # the largest relative change of a sweep that ends it
#: a nearly dead channel must not swell its neighbours: scales stay within [1 / LIMIT, LIMIT]
LIMIT = 1e4

_LAYERS = rules.MAC | rules.TRANSPOSED

#: f(s x) = s f(x) for s > 0, number by number
_ELEMENTWISE = {
    ATEN.relu.default, ATEN.leaky_relu.default, ATEN.dropout.default, ATEN.clone.default, ATEN.contiguous.default,
    ATEN.alias.default, ATEN.detach.default,
}  # fmt: skip
#: the same, channel by channel of [N, C, ...]
_SPATIAL = {
    ATEN.max_pool1d.default, ATEN.max_pool2d.default, ATEN.max_pool3d.default, ATEN.avg_pool1d.default,
    ATEN.avg_pool2d.default, ATEN.avg_pool3d.default, ATEN.adaptive_avg_pool1d.default,
    ATEN.adaptive_avg_pool2d.default, ATEN.upsample_nearest2d.vec, ATEN.upsample_bilinear2d.vec,
}  # fmt: skip
_RESHAPES = {
    ATEN.view.default,
    ATEN.reshape.default,
    ATEN.flatten.using_ints,
    ATEN.squeeze.dim,
    ATEN.squeeze.dims,
}


class Equalized(Record):
    """The outcome of an equalization.

    Attributes:
        pairs: (first, second) layer of each equalized pair, by node name.
        left_out: How many layers have channels that could not be scaled, by reason.
    """

    pairs: tuple[tuple[str, str], ...]
    left_out: dict[str, int]


def equalize(graph_module: GraphModule, before: proven.Reference | None = None) -> Equalized:
    """Equalizes every pair of layers of a float graph, in place, after folding batch norms into their layers.

    Args:
        graph_module: The float graph.
        before: The answers of the graph, where they are known. Where the result answers anything else, nothing is
            equalized.

    Returns:
        The equalized pairs, and the layers that were left out.
    """
    before = before or proven.of_graph(graph_module)
    fold_batch_norms(graph_module, before)
    pairs, left_out = find_pairs(graph_module)
    undone = proven.rewrite(graph_module, [partial(_sweep, pairs=pairs)], before) if pairs else ()
    if undone:
        return Equalized(pairs=(), left_out={**left_out, "other answers": len(pairs)})
    return Equalized(pairs=tuple((a.name, b.name) for a, b in pairs), left_out=left_out)


def _sweep(graph_module: GraphModule, pairs: Sequence[tuple[Node, Node]]) -> None:
    """Balances all pairs repeatedly until they settle."""
    for _ in range(SWEEPS):
        if max(_balance(graph_module, *pair) for pair in pairs) < SETTLED:
            break


def find_pairs(graph_module: GraphModule) -> tuple[list[tuple[Node, Node]], dict[str, int]]:
    """Finds the pairs of layers that may be equalized, and why other layers may not be.

    Returns:
        The pairs, and the number of other layers by reason; a layer that ends the model is in neither.
    """
    layers = [node for node in calls(graph_module) if node.target in _LAYERS and _constant(node.args[1])]
    stored = Counter(str(value.target) for layer in layers for value in layer.args[1:3] if _constant(value))
    pairs, left_out = [], Counter[str]()
    for first in layers:
        found = _next(first)
        if isinstance(found, Node):
            used = (first.args[1], *first.args[2:3], found.args[1])
            if any(stored[str(value.target)] > 1 for value in used if isinstance(value, Node)):
                found = "shared weight"
        if isinstance(found, Node):
            pairs.append((first, found))
        elif found:
            left_out[found] += 1
    return pairs, dict(left_out)


def _next(first: Node) -> Node | str:
    """Returns the one layer that reads the channels of `first`, or why they cannot be scaled; "" at the model's end."""
    node, channels = first, _written(first)
    is_last_axis = first.target is ATEN.linear.default and len(_shape(first)) != 2
    if first.target is not ATEN.linear.default and len(_shape(first)) != len(_shape(first.args[1])):
        return "no batch dimension"
    while True:
        user = rules.only_user(node)
        if user is None:
            return "several readers" if node.users else ""
        if user.op == "output":
            return ""
        if user.target in _LAYERS and user.args[0] is node and _constant(user.args[1]):
            return user if _reads(user, channels, is_last_axis) else "other channels"
        if not (user.target in _ELEMENTWISE or (not is_last_axis and _keeps_channels(user, node))):
            return str(user.target).split(".")[-2] if "." in str(user.target) else str(user.target)
        node = user


def _keeps_channels(node: Node, source: Node) -> bool:
    """Whether each channel of [N, C, ...] stays a channel or becomes neighbouring features of [N, C k]."""
    rank = len(_shape(source))
    if node.target in _SPATIAL:
        return True
    if node.target is ATEN.mean.dim:
        return all(int(d) % rank > 1 for d in node.args[1] or (0,))
    if node.target in rules.PADS:
        return rules.pad_value(node) in (0, None) and len(node.args[1]) <= 2 * (rank - 2)
    return node.target in _RESHAPES and len(_shape(node)) == 2 and _shape(node)[0] == _shape(source)[0]


def _reads(second: Node, channels: int, is_last_axis: bool) -> bool:
    weight = _shape(second.args[1])
    if second.target is ATEN.linear.default:
        return weight[1] % channels == 0 and (is_last_axis or len(_shape(second)) == 2)
    return not is_last_axis and channels == (
        weight[0] if second.target in rules.TRANSPOSED else weight[1] * _groups(second)
    )


def _written(layer: Node) -> int:
    """How many channels a layer writes; the weight of a transposed one is [in, out / groups, ...]."""
    weight = _shape(layer.args[1])
    return weight[1] * _groups(layer) if layer.target in rules.TRANSPOSED else weight[0]


def _by_group(layer: Node, weight: torch.Tensor, reads: int) -> torch.Tensor:
    """The weight as [groups, written / groups, read / groups, rest], in memory of its own.

    Args:
        layer: The layer.
        weight: Its weight.
        reads: How many channels it reads; several features of a linear layer may be one.
    """
    groups, written = _groups(layer), _written(layer)
    if layer.target in rules.TRANSPOSED:
        return weight.reshape(groups, reads // groups, written // groups, -1).transpose(1, 2).contiguous()
    return weight.reshape(groups, written // groups, reads // groups, -1).clone()


def _stored(layer: Node, by_group: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The weight in the shape that the layer has it in."""
    return (by_group.transpose(1, 2) if layer.target in rules.TRANSPOSED else by_group).reshape(shape)


def _balance(graph_module: GraphModule, first: Node, second: Node) -> float:
    """Scales the channels between two layers; returns the largest relative change."""
    path1, path2 = str(first.args[1].target), str(second.args[1].target)
    before1, before2 = (tensors.read(graph_module, path) for path in (path1, path2))
    writes = _by_group(first, before1, _read_by(first))
    reads = _by_group(second, before2, _written(first))
    range1, range2 = writes.abs().amax((2, 3)).flatten(), reads.abs().amax((1, 3)).flatten()
    scale = (range1 / range2).sqrt().clamp(1 / LIMIT, LIMIT)
    scale = torch.where((range1 > 0) & (range2 > 0), scale, torch.ones_like(scale))
    tensors.write(
        graph_module, path1, _stored(first, writes / scale.view(*writes.shape[:2], 1, 1), before1.shape)
    )
    by_reader = scale.view(reads.shape[0], 1, reads.shape[2], 1)
    tensors.write(graph_module, path2, _stored(second, reads * by_reader, before2.shape))
    if len(first.args) > 2 and first.args[2] is not None:
        bias = str(first.args[2].target)
        tensors.write(graph_module, bias, tensors.read(graph_module, bias) / scale)
    return float((scale - 1).abs().max())


def _read_by(layer: Node) -> int:
    weight = _shape(layer.args[1])
    return weight[0] if layer.target in rules.TRANSPOSED else weight[1] * _groups(layer)


def _groups(layer: Node) -> int:
    return int(layer.args[6]) if layer.target is not ATEN.linear.default and len(layer.args) > 6 else 1


def _constant(value: object) -> bool:
    return isinstance(value, Node) and value.op == "get_attr"


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(int(d) for d in node.meta["val"].shape)
