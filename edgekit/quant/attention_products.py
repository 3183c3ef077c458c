"""Attention in operators whose products have integer kernels: what torch's one operator does, taken apart.

scaled_dot_product_attention    q @ k^T, times the scale, plus the mask, softmax, @ v; what a mask leaves out is far below all else
                                before the softmax and zero behind it: a row that is left empty is zero, as in torch
unbind                          one select a part

Causal attention is left to the converter: its mask depends on a length that may be free.
"""

import math
from collections.abc import Callable

import torch
from torch.fx import GraphModule, Node

from edgekit.quant.rewriting import call, calls, constant, replace, shaped

ATEN = torch.ops.aten
FAR = -1e30  # below every score; a float32


def attention_to_products(graph_module: GraphModule) -> None:
    """Takes attention apart; what drops out while it trains, or shares heads, stays."""
    for node in calls(graph_module, ATEN.scaled_dot_product_attention.default):
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        if not any(given.get(name) for name in ("dropout_p", "is_causal", "enable_gqa")):
            _take_apart(graph_module, node, given)


def _take_apart(graph_module: GraphModule, node: Node, given: dict[str, Node]) -> None:
    query, key, value, mask = (given.get(name) for name in ("query", "key", "value", "attn_mask"))
    assert query is not None and key is not None and value is not None
    q, k = (each.meta["val"].shape for each in (query, key))
    scale = given.get("scale") or 1 / math.sqrt(q[-1])
    factor = constant(graph_module, node, float(scale))  # type: ignore[arg-type]
    with graph_module.graph.inserting_before(node):
        turned = call(graph_module, key, ATEN.transpose.int, (key, -2, -1))
        shaped(turned, [*k[:-2], k[-1], k[-2]])
        scores = shaped(
            call(graph_module, node, ATEN.matmul.default, (query, turned)),
            [*node.meta["val"].shape[:-1], k[-2]],
        )
        scores = call(graph_module, scores, ATEN.mul.Tensor, (scores, factor))
        if mask is not None:
            outside = _outside(graph_module, mask)
            if mask.meta["val"].dtype is not torch.bool:
                scores = call(graph_module, scores, ATEN.add.Tensor, (scores, mask))
            scores = call(graph_module, scores, ATEN.masked_fill.Scalar, (scores, outside, FAR))
        shares = call(graph_module, scores, ATEN.softmax.int, (scores, -1))
        if mask is not None:
            shares = call(graph_module, shares, ATEN.masked_fill.Scalar, (shares, outside, 0.0))
        replace(node, call(graph_module, node, ATEN.matmul.default, (shares, value)))


def _outside(graph_module: GraphModule, mask: Node) -> Node:
    """What a mask leaves out: not true, or minus infinity."""
    if mask.meta["val"].dtype is torch.bool:
        return call(graph_module, mask, ATEN.logical_not.default, (mask,))
    outside = call(graph_module, mask, ATEN.eq.Scalar, (mask, -math.inf))
    outside.meta["val"] = mask.meta["val"].new_empty(mask.meta["val"].shape, dtype=torch.bool)
    return outside


def unbind_to_selects(graph_module: GraphModule) -> None:
    """Rewrites the parts of an unbind as selects, which share the range of what they cut."""
    for node in calls(graph_module, ATEN.unbind.int):
        dim = [*node.args, node.kwargs.get("dim", 0)][1]
        for part in list(node.users):
            with graph_module.graph.inserting_before(part):
                replace(part, call(graph_module, part, ATEN.select.int, (node.args[0], dim, part.args[1])))


PASSES: list[Callable[[GraphModule], None]] = [unbind_to_selects, attention_to_products]
