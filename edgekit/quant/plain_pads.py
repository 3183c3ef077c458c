"""Pads in operators that every converter has; coremltools has neither of the two.

pads by less than nothing       a slice, and a pad of the rest
circular pads                   the two ends and the tensor, joined
"""

import sys
from collections.abc import Callable

import torch
from torch.fx import GraphModule, Node

from edgekit.quant.rewriting import call, calls, replace, shaped
from edgekit.quant.rules import known, pad_value

ATEN = torch.ops.aten


def negative_pads_to_slices(graph_module: GraphModule) -> None:
    """Rewrites a constant pad by less than nothing as a slice, and a pad of what is left to add."""
    for node in calls(graph_module, *known("pad.default", "constant_pad_nd.default")):
        sizes = list(node.args[1])
        if min(sizes) >= 0 or pad_value(node) is None:
            continue
        value: Node = node.args[0]
        with graph_module.graph.inserting_before(node):
            for number, (before, after) in enumerate(zip(sizes[::2], sizes[1::2], strict=True)):
                if min(before, after) < 0:
                    value = _cut(graph_module, value, value.meta["val"].dim() - 1 - number, before, after)
        left = [max(0, size) for size in sizes]
        if any(left):
            node.args = (value, left, *node.args[2:])
        else:
            replace(node, value)


def _cut(graph_module: GraphModule, value: Node, axis: int, before: int, after: int) -> Node:
    start, end = max(0, -before), min(0, after)
    cut = call(graph_module, value, ATEN.slice.Tensor, (value, axis, start, end or sys.maxsize))
    shape = list(value.meta["val"].shape)
    return shaped(cut, [*shape[:axis], shape[axis] - start + end, *shape[axis + 1 :]])


def circular_to_joins(graph_module: GraphModule) -> None:
    """Rewrites a circular pad as its two ends and the tensor, joined axis after axis."""
    for node in calls(graph_module, *known("pad.default")):
        if node.kwargs.get("mode", [*node.args, "constant"][2]) != "circular" or min(node.args[1]) < 0:
            continue
        value: Node = node.args[0]
        with graph_module.graph.inserting_before(node):
            for number, (before, after) in enumerate(zip(node.args[1][::2], node.args[1][1::2], strict=True)):
                value = _round_the_ends(
                    graph_module, value, value.meta["val"].dim() - 1 - number, before, after
                )
        replace(node, value)


def _round_the_ends(graph_module: GraphModule, value: Node, axis: int, before: int, after: int) -> Node:
    shape = list(value.meta["val"].shape)
    parts = [value]
    for size, start, end in ((before, -before, sys.maxsize), (after, 0, after)):
        if size:
            cut = call(graph_module, value, ATEN.slice.Tensor, (value, axis, start, end))
            part = shaped(cut, [*shape[:axis], size, *shape[axis + 1 :]])
            parts = [*parts, part] if start == 0 else [part, *parts]
    if len(parts) == 1:
        return value
    joined = call(graph_module, value, ATEN.cat.default, (parts, axis))
    return shaped(joined, [*shape[:axis], shape[axis] + before + after, *shape[axis + 1 :]])


PASSES: list[Callable[[GraphModule], None]] = [negative_pads_to_slices, circular_to_joins]
