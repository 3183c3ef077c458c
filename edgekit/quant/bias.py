"""Bias correction: takes the mean error that rounded weights cause back out of each layer's output.

A layer computes W x + b; its rounded weights W + D shift the mean output of channel o by sum_i D[o, i] E[x_i]. With few
weights per channel (depthwise: nine) the errors do not cancel and the shift is large. E[x_i], the mean of each
input channel, is measured on the calibration inputs, and the shift is subtracted from the bias, which stays float.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721), section
4.2, with measured means. Cost: one mean per layer and batch; nothing at run time.
"""

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import rules, tensors
from edgekit.quant.estimators._flat import part
from edgekit.quant.program import calls

POSITIONS = 1024  # of each input that are averaged


class ChannelMean(torch.nn.Module):
    """Passes its input on and keeps the running mean of dimension `axis`: [C]."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis, self.count = axis, 0
        self.total: torch.Tensor
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the channel means of `x` to the running mean and returns `x` unchanged."""
        rows = x.movedim(self.axis, -1)
        if rows.is_contiguous():  # channels last
            rows = rows.reshape(-1, rows.shape[-1])
            rows = rows[part(len(rows), POSITIONS, self.count)]
        means = rows.mean(tuple(range(rows.dim() - 1))).double()
        if not means.isfinite().all():
            rows = rows.reshape(-1, rows.shape[-1])
            means = rows[rows.isfinite().all(1)].mean(0).double()
        if means.isfinite().all():
            self.total, self.count = self.total + means, self.count + 1
        return x

    @property
    def mean(self) -> torch.Tensor:
        """The mean of each channel over everything seen, [C]."""
        return (self.total / max(self.count, 1)).float()


def watch(prepared: GraphModule) -> list[Node]:
    """Puts a ChannelMean before every layer with an observed weight and a bias.

    Returns:
        The nodes of the watchers, in the order of the graph.
    """
    watchers: list[Node] = []
    for layer in calls(prepared):
        if (
            layer.target not in rules.MAC
            or len(layer.args) < 3
            or tensors.weight_observer(prepared, layer.args[1]) is None
        ):
            continue
        if not isinstance(layer.args[2], Node) or layer.args[2].op != "get_attr":
            continue
        name = f"_channel_mean_{len(watchers)}"
        is_linear = layer.target is rules.ATEN.linear.default
        prepared.add_submodule(name, ChannelMean(-1 if is_linear else -rules.conv_rank(layer) - 1))
        with prepared.graph.inserting_before(layer):
            watcher = prepared.graph.call_module(name, (layer.args[0],))
        layer.replace_input_with(layer.args[0], watcher)
        watchers.append(watcher)
    prepared.recompile()
    return watchers


def correct(prepared: GraphModule, watchers: list[Node]) -> dict[str, torch.Tensor]:
    """Adjusts the biases by what the watchers saw, and removes the watchers.

    Args:
        prepared: A calibrated graph, changed in place.
        watchers: What `watch` returned for it.

    Returns:
        The biases before the correction, by path.
    """
    old: dict[str, torch.Tensor] = {}
    for watcher in watchers:
        (layer,) = watcher.users
        means = prepared.get_submodule(watcher.target)
        bias = str(layer.args[2].target)
        if bias not in old:
            old[bias] = tensors.read(prepared, bias)
            tensors.write(prepared, bias, old[bias] - _shift(prepared, layer, means.mean))
        layer.replace_input_with(watcher, watcher.args[0])
        prepared.graph.erase_node(watcher)
        delattr(prepared, watcher.target)
    prepared.recompile()
    return old


def _shift(prepared: GraphModule, layer: Node, mean: torch.Tensor) -> torch.Tensor:
    """Computes the mean output error [O] of rounding the weights [O, I / groups, ...], for input means [I]."""
    node = layer.args[1]
    weight = tensors.read(prepared, str(node.args[0].target))
    error = rounded(weight, tensors.weight_observer(prepared, node)) - weight
    error = error.reshape(*error.shape[:2], -1).sum(2)
    groups = mean.numel() // error.shape[1]
    inputs = mean.view(groups, error.shape[1]).repeat_interleave(error.shape[0] // groups, 0)
    return (error * inputs).sum(1)


def rounded(weight: torch.Tensor, observer: torch.nn.Module | None) -> torch.Tensor:
    """Returns the weight as the integers of `observer` will represent it."""
    if observer is None:
        return weight
    scale, zero = (v.float().reshape(-1, *[1] * (weight.dim() - 1)) for v in observer.calculate_qparams())
    return (
        torch.clamp(torch.round(weight / scale) + zero, observer.quant_min, observer.quant_max) - zero
    ) * scale
