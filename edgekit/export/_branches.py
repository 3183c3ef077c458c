"""torch.cond for converters that have none: both functions are computed, and the condition picks one answer."""

import operator

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from edgekit.quant import program as programs
from edgekit.quant import proven
from edgekit.quant.rewriting import call, calls, replace

COND = torch.ops.higher_order.cond


def without_branches(program: ExportedProgram) -> ExportedProgram:
    """Returns the program with its torch.cond as choices; the same program where it has none."""
    if not calls(program.graph_module, COND):
        return program
    return programs.export(branches_to_choices(program.module()), program)


def branches_to_choices(graph_module: GraphModule) -> GraphModule:
    """Does so in place, proven against the graph before."""
    if calls(graph_module, COND):
        proven.rewrite(graph_module, [_choose], proven.of_graph(graph_module))
    return graph_module


def _choose(graph_module: GraphModule) -> None:
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
