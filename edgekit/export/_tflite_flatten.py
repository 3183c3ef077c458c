"""Feeds feature maps to a classifier in the order that TFLite holds them, so that no TRANSPOSE is left there.

litert-torch holds feature maps as [N, H, W, C], but only operators with a rank-4 result may join that region.
Two operators in front of a classifier have none, and each would cost a transpose of the features per inference:

1. Global pooling without kept axes. mean(x, [2, 3]) becomes mean(x, [2, 3], keepdim) -> reshape [N, C].
2. Flatten. PyTorch flattens [N, C, H, W], and the linear layer expects its columns in that order. Instead of the
   features, the columns of the weight are reordered, once, here:

       x -> flatten -> linear(W)    =    x -> permute [N, H, W, C] -> flatten -> linear(W[:, order])

   In the converter the new permute meets the inverse one at the border of the region, and both cancel.
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
    """Rewrites global means, and every flatten whose only reader is one linear layer; the function stays the same.

    A view becomes a reshape: a feature map in another order cannot be viewed.
    """
    for node in list(module.graph.nodes):
        if node.target is ATEN.view.default:
            node.target = ATEN.reshape.default
        if node.target is ATEN.mean.dim:
            _keep_axes(node)
        elif node.target is ATEN.linear.default:
            flatten, weight = _flatten_before(node), _weight(node)
            if flatten is not None and weight is not None:
                shape = _shape(flatten.args[0])
                _reorder_columns(module, weight, shape)
                _permute_before(flatten, shape)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _keep_axes(mean: Node) -> None:
    """Turns mean [N, C, H, W] -> [N, C] into mean -> [N, C, 1, 1] -> reshape, on the grid of its quantize if there is one."""
    source, axes = mean.args[0], mean.args[1]
    shape = _shape(source)
    if len(shape) != 4 or mean.kwargs or mean.args[2:3] == (True,):
        return
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        return
    user = next(iter(mean.users)) if len(mean.users) == 1 else None
    grid = user.args[1:] if user is not None and user.target in QUANTIZE else None
    with mean.graph.inserting_after(mean):
        flat = mean.graph.call_function(ATEN.reshape.default, (mean, list(shape[:2])))
    flat.meta = dict(mean.meta)
    mean.replace_all_uses_with(flat, delete_user_cb=lambda reader: reader is not flat)
    mean.args = (source, axes, True, *mean.args[3:])
    mean.meta = {key: value for key, value in mean.meta.items() if key != "val"}
    if grid is not None:
        with mean.graph.inserting_before(flat):
            flat.args = (_requantize(mean, grid), flat.args[1])


def _flatten_before(linear: Node) -> Node | None:
    """The flatten [N, C, H, W] -> [N, C * H * W] that feeds `linear` alone, through elementwise operators."""
    node = linear.args[0]
    while isinstance(node, Node) and node.target in ELEMENTWISE and len(node.users) == 1:
        node = node.args[0]
    if not isinstance(node, Node) or node.target not in FLATTEN or len(node.users) != 1:
        return None
    before, after = _shape(node.args[0]), _shape(node)
    if len(before) != 4 or before[2] * before[3] == 1 or tuple(after) != (before[0], before[1:].numel()):
        return None
    return node


def _weight(linear: Node) -> Node | None:
    """The get_attr of the weight, whether or not behind quantize -> dequantize, if nothing else reads it."""
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
    """Makes it `x` -> permute -> reshape; behind a dequantize the permuted tensor is quantized on the same grid again."""
    source, graph = flatten.args[0], flatten.graph
    with graph.inserting_before(flatten):
        node = graph.call_function(ATEN.permute.default, (source, [0, 2, 3, 1]))
        if source.target in DEQUANTIZE:
            node = _requantize(node, source.args[1:])
        flat = graph.call_function(ATEN.reshape.default, (node, [shape[0], shape[1:].numel()]))
    flat.meta = flatten.meta
    flatten.replace_all_uses_with(flat)
    graph.erase_node(flatten)


def _shape(node: Node) -> torch.Size:
    return getattr(node.meta.get("val"), "shape", torch.Size())


def _requantize(node: Node, grid: tuple[object, ...]) -> Node:
    """Appends quantize -> dequantize, which tells the converter that this value is an int8 tensor."""
    quantized = node.graph.call_function(QUANT.quantize_per_tensor.default, (node, *grid))
    return node.graph.call_function(QUANT.dequantize_per_tensor.default, (quantized, *grid))
