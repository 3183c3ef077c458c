"""Inner tensors of an exported graph as additional outputs, by the names of the modules they come from.

A saved program has no modules to hook, but each node records those in which it was computed. The output of
module X is the last node computed in X that is read outside of X.
"""

import copy
import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.fx.graph import CodeGen

from edgekit.errors import UserError
from edgekit.quant.trainable import OneByOne


def outputs(graph: GraphModule) -> dict[str, Node]:
    """Returns {module path: the node that is its output}, in the order of the graph.

    Modules that produce no float tensor [N, ...] are left out.
    """
    found: dict[str, Node] = {}
    for node in graph.graph.nodes:
        inside = paths(node)
        if not inside or not _is_feature(node):
            continue
        for path in inside:
            if any(path not in paths(user) for user in node.users):
                found.pop(path, None)
                found[path] = node
    return found


def paths(node: Node) -> list[str]:
    """Returns the modules in which a node was computed, outermost first, without the model itself."""
    stack = (node.meta.get("nn_module_stack") or {}).values()
    kinds = [(path, kind if isinstance(kind, str) else kind.__name__) for path, kind in stack]
    return [path for path, kind in kinds if path and "GraphModule" not in kind]


def find(graph: GraphModule, name: str, whose: str) -> Node:
    """Finds the output of a module.

    Args:
        graph: The graph.
        name: The dotted name of the module.
        whose: "student" or "teacher", for the message.

    Raises:
        UserError: There is no such module; the message lists those there are.
    """
    there = outputs(graph)
    if name in there:
        return there[name]
    near = difflib.get_close_matches(name, there, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    allowed = ", ".join(there) or "none: the program does not know its modules"
    raise UserError(f"the {whose} has no module {name!r}{hint} Its modules are {allowed}")


def shape(node: Node) -> list[int]:
    """Returns the shape of a node's value for one sample: [1, ...]."""
    return [int(size) for size in node.meta["val"].shape]


class Tapped(nn.Module):
    """A graph that returns (outputs, (feature of each name, ...)).

    Args:
        model: The graph, whose tensors are shared.
        names: The modules whose outputs are the features.
        whose: "student" or "teacher", for messages.

    Attributes:
        shapes: The shapes of the features of one sample.
        answers: The shapes of its outputs for one sample.
    """

    def __init__(self, model: GraphModule | OneByOne, names: Sequence[str], whose: str) -> None:
        super().__init__()
        graph = graph_of(model)
        self.names = tuple(names)
        nodes = [find(graph, name, whose) for name in names]
        self.shapes = [shape(node) for node in nodes]
        more, own, self._single = _with(graph, nodes)
        self._outputs, self.answers = len(own), [shape(node) for node in own]
        self.graph = OneByOne(more) if isinstance(model, OneByOne) else more
        channels_last(self)

    def forward(self, *inputs: torch.Tensor) -> tuple[Any, tuple[torch.Tensor, ...]]:
        """Returns the graph's own outputs, as it has them, and the tapped features."""
        values = self.graph(*map(_channels_last, inputs))
        own = values[0] if self._single else values[: self._outputs]
        return own, tuple(values[self._outputs :])


def channels_last(model: nn.Module) -> None:
    """Stores convolution weights as [N, H, W, C] in memory, in place, which is faster on CPUs."""
    for parameter in model.parameters():
        parameter.data = _channels_last(parameter.data)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def graph_of(model: GraphModule | OneByOne) -> GraphModule:
    """Returns the graph itself, without the wrapper that runs it on one sample at a time."""
    return model.graph if isinstance(model, OneByOne) else model


def _with(graph: GraphModule, nodes: Iterable[Node]) -> tuple[GraphModule, list[Node], bool]:
    """Returns a copy with a flat tuple of results, the outputs, and whether the original has a lone one."""
    copied = copy.deepcopy(graph.graph)
    by_name = {node.name: node for node in copied.nodes}
    (end,) = copied.find_nodes(op="output")
    single = copied._codegen.pytree_info.out_spec.is_leaf()
    own = list(end.args[0])
    end.args = ((*own, *(by_name[node.name] for node in nodes)),)
    copied.set_codegen(CodeGen())
    for node in copied.nodes:
        if node.target is torch.ops.aten.view.default:  # requires one layout, reshape takes any
            node.target = torch.ops.aten.reshape.default
    module = GraphModule(graph, copied)
    return module, own, single


def _is_feature(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() >= 2
