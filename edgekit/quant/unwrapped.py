"""Parts of forward that stand under `torch.no_grad()` or `torch.autocast(enabled=False)`: what is in them stands in forward itself.

torch.export makes a function of each, which converters and passes do not look into. Without gradients neither changes a number.
"""

import operator

import torch
from torch.fx import GraphModule

from edgekit.errors import TaskError
from edgekit.quant.program import origin
from edgekit.quant.rewriting import calls, inlined, replace

NO_GRAD = torch.ops.higher_order.wrap_with_set_grad_enabled
AUTOCAST = torch.ops.higher_order.wrap_with_autocast
_BEFORE = {NO_GRAD: 1, AUTOCAST: 4}  # arguments in front of the function


def unwrap(graph_module: GraphModule) -> None:
    """Puts what is wrapped in the place of the wrap, one in another too."""
    while wraps := calls(graph_module, *_BEFORE):
        for node in wraps:
            _, *operands = node.args[_BEFORE[node.target] :]
            with graph_module.graph.inserting_before(node):
                answers = inlined(graph_module, node.args[_BEFORE[node.target]], operands)
            for reader in [reader for reader in node.users if reader.target is operator.getitem]:
                replace(reader, answers[reader.args[1]])
            graph_module.graph.erase_node(node)


def check_autocast(graph_module: GraphModule) -> None:
    """Checks that forward does not choose a precision.

    Raises:
        TaskError: It turns autocast on.
    """
    inner = [module for module in graph_module.modules() if isinstance(module, GraphModule)]
    for node in [node for module in inner for node in calls(module, AUTOCAST)]:
        if node.args[2]:
            kind = str(node.args[1] or "half precision").removeprefix("torch.")
            raise TaskError(
                f"forward turns autocast on ({kind}): {origin(node) or 'a part of it'} computes in it. Leave torch.autocast out of forward: "
                "an artifact's precision is chosen by its target"
            )
