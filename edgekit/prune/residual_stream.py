"""Layers whose channels meet those of other layers, in a sum, a concatenation or a padding, say.

This is read from the exported program, not from names: the output of each layer is followed through operators
that treat every channel alone (norms, activations, pools, products with a gate) up to the next layer. If it
meets anything else, the layer is part of the stream. What is left are the inner layers of blocks, which can
be pruned in any network.
"""

from collections.abc import Iterator

import torch
from torch import nn
from torch.fx import Node

from edgekit.quant.graph_macs import operator
from edgekit.quant.program import calls, module_path, origin

_LAYERS = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"}
_CHANNELWISE = {
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "relu", "relu6", "relu_", "relu6_", "hardtanh", "hardtanh_",
    "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "silu", "silu_", "gelu", "elu", "elu_", "leaky_relu", "leaky_relu_",
    "sigmoid", "sigmoid_", "tanh", "softplus", "mish", "prelu", "clamp", "clamp_", "clamp_min", "mul", "mul_", "div", "dropout",
    "dropout_", "feature_dropout", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool2d", "mean", "amax", "flatten",
    "clone", "contiguous", "detach", "permute", "squeeze", "unsqueeze", "to", "upsample_bilinear2d", "upsample_nearest2d",
}  # fmt: skip
_MOVES = {
    "view", "reshape", "unflatten", "transpose", "chunk", "split", "split_with_sizes", "unbind", "select", "slice", "index",
    "roll", "flip", "pad", "gather", "pixel_shuffle", "matmul", "bmm", "einsum", "scaled_dot_product_attention",
}  # fmt: skip


def movers(module: nn.Module, examples: tuple[torch.Tensor, ...]) -> dict[str, str]:
    """Finds modules that move channels about.

    Returns:
        The name of each module with the operators it uses, such as "chunk, view, transpose".
    """
    found: dict[str, dict[str, None]] = {}
    for node in calls(torch.export.export(module.eval(), examples).graph_module):
        name = operator(node)
        if name in _MOVES and not _flattens(node):
            found.setdefault(origin(node) or "the model itself", {})[name] = None
    return {name: ", ".join(operators) for name, operators in found.items()}


def obstacles(module: nn.Module, examples: tuple[torch.Tensor, ...]) -> str:
    """Returns a sentence on what stands in the way of pruning, as far as the exported program shows."""
    try:
        met = movers(module, examples)
    except Exception:
        return "It cannot be exported either"
    named = "; ".join(f"{name} with {what}" for name, what in list(met.items())[:3])
    more = f" and {len(met) - 3} more" if len(met) > 3 else ""
    return f"Channels are moved about by {named}{more}" if met else "Name the layers in its way with ignore"


def layers(module: nn.Module, examples: tuple[torch.Tensor, ...]) -> dict[str, str]:
    """Finds the layers of the stream.

    Returns:
        The dotted name of each layer with the operator that its output meets, such as "add" or "cat".
    """
    found: dict[str, str] = {}
    for node in calls(torch.export.export(module.eval(), examples).graph_module):
        if operator(node) in _LAYERS:
            met = next((operator(other) or str(other.target) for other in _meets(node)), "")
            if met and module_path(node):
                found[module_path(node)] = met
    return found


def _meets(layer: Node) -> Iterator[Node]:
    """What its output meets that is neither a layer nor treats each channel alone."""
    seen, frontier = {layer}, [layer]
    while frontier:
        for user in frontier.pop().users:
            if user in seen or user.op == "output" or operator(user) in _LAYERS:
                continue
            seen.add(user)
            if operator(user) in _CHANNELWISE or _flattens(user):
                frontier.append(user)
            else:
                yield user


def _flattens(node: Node) -> bool:
    """Whether a view only drops the dimensions behind the channels."""
    if operator(node) not in ("view", "reshape"):
        return False
    return len(node.meta["val"].shape) == 2 < len(node.args[0].meta["val"].shape)
