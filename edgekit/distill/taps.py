"""Inner tensors of an exported graph as further outputs, by the dotted names of the modules they come from.

A saved program has no modules to hook, but each node remembers those that it was computed in. The output of module X is the last node
computed in X that is read outside of X.
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
    """{module path: the node that is its output}, in the order of the graph; modules without a float tensor [N, ...] are left out."""
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
    """The modules that a node was computed in, outermost first, without the model itself."""
    stack = (node.meta.get("nn_module_stack") or {}).values()
    kinds = [(path, kind if isinstance(kind, str) else kind.__name__) for path, kind in stack]
    return [path for path, kind in kinds if path and "GraphModule" not in kind]


def find(graph: GraphModule, name: str, whose: str) -> Node:
    """Raises UserError with the names there are."""
    there = outputs(graph)
    if name in there:
        return there[name]
    near = difflib.get_close_matches(name, there, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    allowed = ", ".join(there) or "none: the program does not know its modules"
    raise UserError(f"the {whose} has no module {name!r}{hint} Its modules are {allowed}")


def shape(node: Node) -> list[int]:
    """Of one sample: [1, ...]."""
    return [int(size) for size in node.meta["val"].shape]


class Tapped(nn.Module):
    """A graph with features: answers (outputs, (feature of each name, ...)). It shares its tensors with the graph given.

    shapes: of the features of one sample; answers: of its outputs.
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
        values = self.graph(*map(_channels_last, inputs))
        own = values[0] if self._single else values[: self._outputs]
        return own, tuple(values[self._outputs :])


def channels_last(model: nn.Module) -> None:
    """Lays the weights of convolutions out as [N, H, W, C] in memory, in place; shapes stay. So they run faster on CPUs."""
    for parameter in model.parameters():
        parameter.data = _channels_last(parameter.data)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def graph_of(model: GraphModule | OneByOne) -> GraphModule:
    return model.graph if isinstance(model, OneByOne) else model


def _with(graph: GraphModule, nodes: Iterable[Node]) -> tuple[GraphModule, list[Node], bool]:
    """(a copy that answers one flat tuple: outputs, then nodes; the outputs; whether the original answers a lone tensor)."""
    copied = copy.deepcopy(graph.graph)
    by_name = {node.name: node for node in copied.nodes}
    (end,) = copied.find_nodes(op="output")
    single = copied._codegen.pytree_info.out_spec.is_leaf()
    own = list(end.args[0])
    end.args = ((*own, *(by_name[node.name] for node in nodes)),)
    copied.set_codegen(CodeGen())
    for node in copied.nodes:
        if node.target is torch.ops.aten.view.default:  # wants one layout, reshape takes any
            node.target = torch.ops.aten.reshape.default
    module = GraphModule(graph, copied)
    return module, own, single


def _is_feature(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() >= 2
