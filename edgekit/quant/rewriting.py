"""What passes over a graph are written with: finding calls, inserting them, storing constants."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import rules, tensors


def calls(graph_module: GraphModule, *targets: Any) -> list[Node]:
    """Lists the calls of any of `targets`, in the order of the graph."""
    return [
        node for node in graph_module.graph.nodes if node.op == "call_function" and node.target in targets
    ]


def call(graph_module: GraphModule, like: Node, target: Any, args: tuple[Any, ...], **kwargs: Any) -> Node:
    """Inserts a call with the shape, type and origin of `like`."""
    node = graph_module.graph.call_function(target, args, kwargs)
    node.meta = {key: value for key, value in like.meta.items() if key != "quantization_annotation"}
    return node


def shaped(node: Node, shape: list[int]) -> Node:
    """Notes that `node` holds a tensor of this shape."""
    node.meta["val"] = node.meta["val"].new_empty(shape)
    return node


def replace(old: Node, new: Node) -> None:
    """Lets all readers of `old` read `new`, and erases `old`."""
    old.replace_all_uses_with(new)
    old.graph.erase_node(old)


def inlined(graph_module: GraphModule, function: Node, operands: Sequence[Node]) -> list[Node]:
    """Copies the graph of a function that the graph calls to where the graph stands, and returns what it answers."""
    inner = graph_module.get_submodule(str(function.target)).graph
    values = dict(zip((n for n in inner.nodes if n.op == "placeholder"), operands, strict=True))
    answers: list[Node] = graph_module.graph.graph_copy(inner, values)
    for node in inner.nodes:
        if node.op == "get_attr":  # what the function holds itself, such as another function
            values[node].target = f"{function.target}.{node.target}"
    return list(answers)


def constant(graph_module: GraphModule, before: Node, value: torch.Tensor | float) -> Node:
    """Stores a tensor as an attribute of the module; a number becomes [1, ..., 1] of the rank of `before`."""
    number = 0
    while hasattr(graph_module, f"_constant_{number}"):
        number += 1
    like = before.meta["val"]
    tensor = value if isinstance(value, torch.Tensor) else torch.full([1] * like.dim(), value)
    graph_module.register_buffer(f"_constant_{number}", tensor.detach().clone())
    with graph_module.graph.inserting_before(before):
        node = graph_module.graph.get_attr(f"_constant_{number}")
    node.meta["val"] = (
        like.fake_mode.from_tensor(tensor, static_shapes=True) if hasattr(like, "fake_mode") else tensor
    )
    return node


def stored_value(graph_module: GraphModule, value: Any) -> torch.Tensor | float | None:
    """Returns a constant operand, as numbers."""
    if isinstance(value, Node):
        return tensors.read(graph_module, str(value.target)) if rules.is_constant(value) else None
    return float(value) if isinstance(value, (int, float)) else None
