"""Flattens feature maps in the order that TFLite holds them, so that no TRANSPOSE is left before a classifier.

A PyTorch classifier flattens [N, C, H, W] and its linear layer expects the columns in that order; TFLite holds
the features as [N, H, W, C]. Instead of transposing the features at every inference, the columns of the linear
weight are reordered once, here:

    x [N, C, H, W] -> flatten -> linear(W)    =    x -> permute [N, H, W, C] -> flatten -> linear(W[:, order])

In the converter the new permute meets the inverse one at the border of the NHWC region, and both cancel.
"""

from functools import reduce

import torch
from torch.fx import GraphModule, Node

ATEN = torch.ops.aten
QUANT = torch.ops.quantized_decomposed
FLATTEN = {ATEN.view.default, ATEN.reshape.default, ATEN.flatten.using_ints}
QUANTIZE = {QUANT.quantize_per_tensor.default, QUANT.quantize_per_channel.default}
DEQUANTIZE = {QUANT.dequantize_per_tensor.default, QUANT.dequantize_per_channel.default}
ELEMENTWISE = QUANTIZE | DEQUANTIZE | {ATEN.dropout.default, ATEN.clone.default, ATEN.relu.default}


def flatten_channels_last(module: GraphModule) -> GraphModule:
    """Rewrites every flatten whose only reader is one linear layer; `module` keeps its function."""
    for linear in [node for node in module.graph.nodes if node.target is ATEN.linear.default]:
        flatten, weight = _flatten_before(linear), _weight(linear)
        if flatten is not None and weight is not None:
            shape = flatten.args[0].meta["val"].shape
            _reorder_columns(module, weight, shape)
            _permute_before(flatten, shape)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _flatten_before(linear: Node) -> Node | None:
    """The flatten [N, C, H, W] -> [N, C * H * W] that feeds `linear` alone, through elementwise operators."""
    node = linear.args[0]
    while isinstance(node, Node) and node.target in ELEMENTWISE and len(node.users) == 1:
        node = node.args[0]
    if not isinstance(node, Node) or node.target not in FLATTEN or len(node.users) != 1:
        return None
    before, after = (getattr(n.meta.get("val"), "shape", ()) for n in (node.args[0], node))
    if len(before) != 4 or before[2] * before[3] == 1 or tuple(after) != (before[0], before[1:].numel()):
        return None
    return node


def _weight(linear: Node) -> Node | None:
    """The get_attr of the weight, behind quantize -> dequantize or not, if nothing else reads it."""
    node = linear.args[1]
    while isinstance(node, Node) and len(node.users) == 1:
        if node.op == "get_attr":
            return node
        if node.target not in QUANTIZE | DEQUANTIZE:
            return None
        node = node.args[0]
    return None


def _reorder_columns(module: GraphModule, weight: Node, shape: torch.Size) -> None:
    old = reduce(getattr, str(weight.target).split("."), module)
    columns = torch.arange(shape[1:].numel()).reshape(shape[1:]).permute(1, 2, 0).flatten()
    name = f"_channels_last_{weight.name}"
    module.register_buffer(name, old.detach()[:, columns].contiguous())
    weight.target = name


def _permute_before(flatten: Node, shape: torch.Size) -> None:
    """x -> permute -> reshape; behind a dequantize the permuted tensor is quantized on the same grid again."""
    source, graph = flatten.args[0], flatten.graph
    with graph.inserting_before(flatten):
        node = graph.call_function(ATEN.permute.default, (source, [0, 2, 3, 1]))
        if source.target in DEQUANTIZE:
            grid = source.args[1:]
            quantized = graph.call_function(QUANT.quantize_per_tensor.default, (node, *grid))
            node = graph.call_function(QUANT.dequantize_per_tensor.default, (quantized, *grid))
        flat = graph.call_function(ATEN.reshape.default, (node, [shape[0], shape[1:].numel()]))
    flat.meta = flatten.meta
    flatten.replace_all_uses_with(flat)
    graph.erase_node(flatten)
