"""torch.cond for converters that have none: both functions are computed, and the condition picks one answer."""

import operator

import torch
from torch.fx import GraphModule, Node

from edgekit.quant.rewriting import call, calls, replace

COND = torch.ops.higher_order.cond


def branches_to_choices(graph_module: GraphModule) -> None:
    """Rewrites every torch.cond."""
    for node in calls(graph_module, COND):
        condition, first, second, operands = node.args
        with graph_module.graph.inserting_before(node):
            sides = [_inlined(graph_module, branch, operands) for branch in (first, second)]
            chosen = [
                call(graph_module, a, torch.ops.aten.where.self, (condition, a, b))
                for a, b in zip(*sides, strict=True)
            ]
        for reader in [reader for reader in node.users if reader.target is operator.getitem]:
            replace(reader, chosen[reader.args[1]])
        graph_module.graph.erase_node(node)


def _inlined(graph_module: GraphModule, branch: Node, operands: tuple[Node, ...]) -> list[Node]:
    """Copies the graph of a branch to where the graph stands, and returns what it answers."""
    inner = graph_module.get_submodule(str(branch.target)).graph
    values = dict(zip((n for n in inner.nodes if n.op == "placeholder"), operands, strict=True))
    answers: list[Node] = graph_module.graph.graph_copy(inner, values)
    return list(answers)
