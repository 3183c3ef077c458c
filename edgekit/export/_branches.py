"""torch.cond for converters that have none: both functions are computed, and the condition picks one answer."""

import operator

import torch
from torch.fx import GraphModule

from edgekit.quant.rewriting import call, calls, inlined, replace

COND = torch.ops.higher_order.cond


def branches_to_choices(graph_module: GraphModule) -> None:
    """Rewrites every torch.cond."""
    for node in calls(graph_module, COND):
        condition, first, second, operands = node.args
        with graph_module.graph.inserting_before(node):
            sides = [inlined(graph_module, branch, operands) for branch in (first, second)]
            chosen = [
                call(graph_module, a, torch.ops.aten.where.self, (condition, a, b))
                for a, b in zip(*sides, strict=True)
            ]
        for reader in [reader for reader in node.users if reader.target is operator.getitem]:
            replace(reader, chosen[reader.args[1]])
        graph_module.graph.erase_node(node)
