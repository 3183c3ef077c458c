"""Patches put back into an image (F.fold, col2im), in operators that every converter has.

windows beside each other       a view, a permute and a view
windows that overlap            a transposed convolution whose kernels have one tap each, a group for each channel
"""

from collections.abc import Callable
from math import prod

import torch
from torch.fx import GraphModule, Node

from edgekit.quant.rewriting import call, calls, constant, replace, shaped
from edgekit.quant.rules import known

ATEN = torch.ops.aten


def folds_to_images(graph_module: GraphModule) -> None:
    """Rewrites col2im of [N, C * kernel, L] for fixed sizes."""
    for node in calls(graph_module, *known("col2im.default")):
        source, image, kernel, dilation, padding, stride = node.args
        before = source.meta["val"].shape
        if len(before) != 3 or not all(isinstance(size, int) for size in before):
            continue
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        room = [
            n + 2 * p - span for n, p, span in zip(image, padding, spans, strict=True)
        ]  # that the first window leaves to move in
        counts = [r // s + 1 for r, s in zip(room, stride, strict=True)]
        apart = list(kernel) == list(stride) and list(dilation) == [1, 1] and not any(padding)
        with graph_module.graph.inserting_before(node):
            if apart and all(n == c * k for n, c, k in zip(image, counts, kernel, strict=True)):
                made = _beside(graph_module, node, kernel, counts)
            else:
                more = [r % s for r, s in zip(room, stride, strict=True)]
                made = _added(graph_module, node, counts, [stride, padding, more, dilation])
        replace(node, made)


def _beside(graph_module: GraphModule, node: Node, kernel: list[int], counts: list[int]) -> Node:
    samples, channels, height, width = node.meta["val"].shape
    value, (rows, columns) = node.args[0], counts
    for target, given, shape in (
        (ATEN.reshape.default, None, [samples, channels, *kernel, rows, columns]),
        (ATEN.permute.default, [0, 1, 4, 2, 5, 3], [samples, channels, rows, kernel[0], columns, kernel[1]]),
        (ATEN.reshape.default, None, [samples, channels, height, width]),
    ):
        value = shaped(call(graph_module, node, target, (value, given or shape)), shape)
    return value  # type: ignore[no-any-return]


def _added(graph_module: GraphModule, node: Node, counts: list[int], steps: list[list[int]]) -> Node:
    channels, kernel = node.meta["val"].shape[1], list(node.args[2])
    taps = torch.eye(prod(kernel)).reshape(-1, 1, *kernel).repeat(channels, 1, 1, 1)
    stride, padding, more, dilation = map(list, steps)
    weight = constant(graph_module, node, taps)
    shape = [*node.args[0].meta["val"].shape[:2], *counts]
    windows = shaped(call(graph_module, node, ATEN.reshape.default, (node.args[0], shape)), shape)
    args = (windows, weight, None, stride, padding, more, channels, dilation)
    return call(graph_module, node, ATEN.conv_transpose2d.input, args)


PASSES: list[Callable[[GraphModule], None]] = [folds_to_images]
