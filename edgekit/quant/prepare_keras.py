"""A Keras graph becomes the graph that a torch model of the same layers would give, before any quantizer sees it.

Keras holds feature maps as [N, H, W, C] and its torch backend permutes around every convolution and pooling. It
also writes batch normalization as plain arithmetic, a dense layer as a product and a sum, and a bias as a sum. Left
so, an int8 file would hold two TRANSPOSE for each convolution and a MUL and an ADD for each batch norm that could have
been part of the convolution's weights. MobileNetV2, 52 convolutions: 104 permutes become the one that the interface
needs, [1, H, W, C] to the first convolution (`tests/quant/test_prepare_keras.py`).

Each pass rewrites the graph in place and keeps its function, as those of `edgekit.quant.prepare` do. Weights become
parameters of the graph in torch's layout, so that quantization-aware training continues with them; the statistics of
batch norms become buffers. `edgekit.quant.keras_layout` and `edgekit.quant.border_permutes` move
the permutes, `edgekit.quant.keras_layers` finds the layers.

tensorflow-model-optimization is not used for training Keras models with fake quantization: it knows the legacy
Keras 2 alone (`TF_USE_LEGACY_KERAS=1`), and refuses a Keras 3 model as "Functional". Here a Keras model is an nn.Module.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import proven
from edgekit.quant.border_permutes import flatten_channels_first, permute_input_first
from edgekit.quant.fake_values import insert
from edgekit.quant.functional import functionalize
from edgekit.quant.keras_constants import drop_unused, fold_constants, plain_numbers
from edgekit.quant.keras_layers import batch_norms, conv_biases, dense_layers
from edgekit.quant.keras_layout import channels_first

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


def _repeats_edge(pad: Node) -> bool:
    mode = pad.args[2] if len(pad.args) > 2 else pad.kwargs.get("mode")
    return pad.target is ATEN.pad.default and mode == "replicate"
