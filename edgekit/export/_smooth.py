"""Resizes with a filter that fits the factor (antialias=True): two products with stored matrices, one an axis.

TFLite has none, and coremltools writes them without the filter. They are linear in each axis: torch's own resize of single
pixels is the matrix.
"""

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import rules
from edgekit.quant.rewriting import call, calls, constant, replace, shaped

ATEN = torch.ops.aten
SMOOTH = rules.known("_upsample_bilinear2d_aa.vec", "_upsample_bicubic2d_aa.vec")


def smooth_to_products(graph_module: GraphModule) -> None:
    """Rewrites every such resize of fixed sizes."""
    for node in calls(graph_module, *SMOOTH):
        source: Node = node.args[0]
        before, after = list(source.meta["val"].shape), list(node.meta["val"].shape)
        if not all(isinstance(size, int) for size in (*before, *after)):
            continue
        corners, factors = [*node.args[2:], None][:2]
        weights = [
            _weights(node.target, b, a, corners, f)
            for b, a, f in zip(before[2:], after[2:], factors or [None, None], strict=True)
        ]
        columns, rows = constant(graph_module, node, weights[1].t()), constant(graph_module, node, weights[0])
        with graph_module.graph.inserting_before(node):
            wide = call(graph_module, node, ATEN.matmul.default, (source, columns))
            shaped(wide, [*before[:3], after[3]])
            replace(node, call(graph_module, node, ATEN.matmul.default, (rows, wide)))


def _weights(resize: object, before: int, after: int, corners: bool, factor: float | None) -> torch.Tensor:
    """Returns what each pixel of an axis adds to each of the result, [after, before]."""
    pixels = torch.eye(before)[None, None]
    sizes, factors = ([after, before], None) if factor is None else (None, [factor, 1.0])
    found: torch.Tensor = resize(pixels, sizes, corners, factors)[0, 0]  # type: ignore[operator]
    return found
