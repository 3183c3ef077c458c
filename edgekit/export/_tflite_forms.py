"""Rewrites of a program for litert-torch, each proven against the program before it: those of `_common_forms`, and two of its own.

output padding      a slice of the whole output: litert-torch writes another function (one axis) or fails (two)
reflected places    places that are reflected, read without reflection: TFLite does not compare the 8-bit numbers that litert-torch
                    counts reflections in
"""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.export import _common_forms
from edgekit.quant import proven
from edgekit.quant.rewriting import call, calls
from edgekit.quant.transposed import output_padding_to_slice

ATEN = torch.ops.aten

_SAMPLERS = ATEN.grid_sampler.default, ATEN.grid_sampler_2d.default
_BICUBIC = 2  # whose neighbours are reflected one by one
_BORDER, _REFLECTION = 1, 2  # torch's numbers of what is read outside of an image


def for_litert(graph_module: GraphModule) -> GraphModule:
    """Runs what finds something, in place; a pass that would change what the graph computes is undone.

    Raises:
        ConversionError: There are complex numbers that cannot be said in real ones.
    """
    _common_forms.rewrite(graph_module, "TFLite")
    if calls(graph_module, ATEN.conv_transpose1d.default, ATEN.conv_transpose2d.input, *_SAMPLERS):
        proven.rewrite(
            graph_module, [output_padding_to_slice, reflections_to_borders], proven.of_graph(graph_module)
        )
    return graph_module


def reflections_to_borders(graph_module: GraphModule) -> None:
    """Reflects the places of a grid_sample at the edges, -1 and 1, so that none is outside."""
    for node in calls(graph_module, *_SAMPLERS):
        if node.args[2] != _BICUBIC and node.args[3] == _REFLECTION:
            with graph_module.graph.inserting_before(node):
                inside = _reflected(graph_module, node.args[1])
            node.args = (node.args[0], inside, node.args[2], _BORDER, *node.args[4:])


def _reflected(graph_module: GraphModule, places: Node) -> Node:
    """1 - |4 r - 2|, r being what (x + 1) / 4 is above a whole number."""

    def step(target: Any, *args: Any) -> Node:
        return call(graph_module, places, target, args)

    turns = step(ATEN.add.Tensor, step(ATEN.mul.Tensor, places, 0.25), 0.25)
    above = step(ATEN.sub.Tensor, turns, step(ATEN.floor.default, turns))
    away = step(ATEN.abs.default, step(ATEN.sub.Tensor, step(ATEN.mul.Tensor, above, 4.0), 2.0))
    return step(ATEN.rsub.Scalar, away, 1.0)
