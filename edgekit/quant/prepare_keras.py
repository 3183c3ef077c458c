"""A Keras graph becomes the graph that a torch model of the same layers would give, before any quantizer sees it.

Keras holds feature maps as [N, H, W, C] and its torch backend permutes around every convolution and pooling. It
also writes batch normalization as plain arithmetic, a dense layer as a product and a sum, and a bias as a sum. Left
so, an int8 file would hold two TRANSPOSE for each convolution and a MUL and an ADD for each batch norm that could have
been part of the convolution's weights. MobileNetV2, 52 convolutions: 104 permutes become the one that the interface
needs, [1, H, W, C] to the first convolution (`tests/quant/test_prepare_keras.py`).

Each pass rewrites the graph in place and keeps its function, as those of `edgekit.quant.prepare` do. Weights become
parameters of the graph in torch's layout, so that quantization-aware training continues with them; the statistics of
batch norms become buffers. `edgekit.quant.keras_layout` moves the permutes.

tensorflow-model-optimization is not used for training Keras models with fake quantization: it knows the legacy
Keras 2 alone (`TF_USE_LEGACY_KERAS=1`), and refuses a Keras 3 model as "Functional". Here a Keras model is an nn.Module.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import proven
from edgekit.quant.functional import functionalize
from edgekit.quant.keras_constants import (
    constant_of,
    drop_unused,
    fold_constants,
    get_constant,
    plain_numbers,
    put_constant,
)
from edgekit.quant.keras_layout import channels_first, flatten_channels_first, insert, permute_input_first

ATEN = torch.ops.aten

_SAME_TENSOR = {
    ATEN.to.dtype, ATEN.to.dtype_layout, ATEN.to.device, ATEN.contiguous.default, ATEN.clone.default,
    ATEN.alias.default, ATEN.detach.default, ATEN.lift_fresh_copy.default,
}  # fmt: skip
_OTHER_NAMES = {
    ATEN.subtract.Tensor: ATEN.sub.Tensor,
    ATEN.multiply.Tensor: ATEN.mul.Tensor,
    ATEN.divide.Tensor: ATEN.div.Tensor,
    ATEN.view.default: ATEN.reshape.default,
}
_CONV_RANK = {ATEN.conv1d.default: 1, ATEN.conv2d.default: 2, ATEN.conv3d.default: 3}
_MOMENTUM = 0.01  # 1 - 0.99, of Keras; only training reads it
_POOLS = {ATEN.max_pool1d.default: 1, ATEN.max_pool2d.default: 2}


def prepare_keras(graph_module: GraphModule) -> GraphModule:
    """Runs `prepared` with the answers of the graph as it is.

    Returns:
        The same graph, rewritten in place.
    """
    prepared(graph_module, proven.of_graph(graph_module))
    return graph_module


def prepared(graph_module: GraphModule, before: proven.Reference) -> tuple[str, ...]:
    """Runs every pass of PASSES, in order, in place.

    Args:
        graph_module: The graph of an exported Keras model's `module()`.
        before: The answers that the graph must keep.

    Returns:
        A sentence for each pass that would have changed what the graph computes, and was undone.
    """
    undone = proven.rewrite(graph_module, PASSES, before)
    drop_unused(graph_module)
    return undone


def drop_bookkeeping(graph_module: GraphModule) -> None:
    """Drops copies, checks and conversions to the type that a tensor already has; operators get names that rules know.

    Nothing is dropped where something is still written in place: a copy might then protect a value.
    """
    nodes = [node for node in graph_module.graph.nodes if node.op == "call_function"]
    for node in nodes:
        node.target = _OTHER_NAMES.get(node.target, node.target)
        if node.target is ATEN._assert_tensor_metadata.default:
            graph_module.graph.erase_node(node)
    if any(isinstance(n.target, torch._ops.OpOverload) and n.target._schema.is_mutable for n in nodes):
        return
    for node in nodes:
        if node.target in _SAME_TENSOR and _same_type(node, node.args[0]):
            node.replace_all_uses_with(node.args[0])


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


def global_means(graph_module: GraphModule) -> None:
    """Keeps the axes of a mean over height and width, as pooling in torch does, and drops them by a reshape.

    ONNX Runtime has an integer kernel for that form alone.
    """
    for mean in list(graph_module.graph.nodes):
        if mean.target is not ATEN.mean.dim or len(mean.args) != 2 or mean.kwargs:
            continue
        shape = mean.args[0].meta["val"].shape
        if len(shape) == 4 and sorted(axis % 4 for axis in mean.args[1]) == [2, 3]:
            kept = insert(mean, ATEN.mean.dim, (mean.args[0], [2, 3], True))
            flat = insert(mean, ATEN.reshape.default, (kept, [int(size) for size in shape[:2]]))
            mean.replace_all_uses_with(flat)


def pool_pads(graph_module: GraphModule) -> None:
    """Turns max pooling over a border that repeats the edge into pooling with its own padding, which never wins.

    The repeated edge of TensorFlow's "same" lies in the window anyway, so the largest value stays the same. A side that is
    padded only at its end, as with stride 2 and an even size, is what `ceil_mode` means.
    """
    for pool in list(graph_module.graph.nodes):
        rank = _POOLS.get(pool.target)
        pad = pool.args[0] if rank else None
        if rank is None or not isinstance(pad, Node) or not _repeats_edge(pad):
            continue
        sides, full = list(pad.args[1]), [*pool.args, *[[], 0, 1, False][len(pool.args) - 2 :]]
        if len(sides) != 2 * rank or full[3] not in (0, [0] * rank):
            continue
        pairs = list(zip(sides[0::2], sides[1::2], strict=True))[::-1]
        padding = [before if before == after else 0 for before, after in pairs]
        if any(before not in (0, after) for before, after in pairs):
            continue
        if any(
            2 * p > size or max(pair) >= size for p, size, pair in zip(padding, full[1], pairs, strict=True)
        ):
            continue
        with_ceil = insert(pool, pool.target, (pad.args[0], *full[1:3], padding, full[4], True))
        if with_ceil.meta["val"].shape == pool.meta["val"].shape:
            pool.replace_all_uses_with(with_ceil)


PASSES: list[Callable[[GraphModule], None]] = [
    functionalize,
    drop_bookkeeping,
    batch_norms,
    fold_constants,
    plain_numbers,
    dense_layers,
    channels_first,
    permute_input_first,
    conv_biases,
    flatten_channels_first,
    global_means,
    pool_pads,
]


def _same_type(node: Node, source: Any) -> bool:
    before, after = source.meta.get("val"), node.meta.get("val")
    return isinstance(before, torch.Tensor) and before.dtype == after.dtype and before.device == after.device


def _operands(value: Any, target: Any) -> tuple[Any, Any] | None:
    """Returns the two arguments of a call of `target`; None for anything else or a call with an alpha."""
    if not isinstance(value, Node) or value.target is not target or value.kwargs or len(value.args) != 2:
        return None
    return value.args[0], value.args[1]


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


def _repeats_edge(pad: Node) -> bool:
    mode = pad.args[2] if len(pad.args) > 2 else pad.kwargs.get("mode")
    return pad.target is ATEN.pad.default and mode == "replicate"
