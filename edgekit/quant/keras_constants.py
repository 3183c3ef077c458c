"""The constants of an exported Keras graph: computed once, named after their layer, held as torch holds weights.

torch.export sees the variables of a Keras layer as constants without a name, and what is done to them before use,
a permute of the kernel say, as operators that would run with every inference.
"""

from functools import reduce
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from edgekit.quant.program import module_path

ATEN = torch.ops.aten

_ARITHMETIC = {ATEN.add.Tensor, ATEN.sub.Tensor, ATEN.mul.Tensor, ATEN.div.Tensor}
_RANDOM = torch.Tag.nondeterministic_seeded


def constant_of(graph_module: GraphModule, node: Any) -> torch.Tensor | None:
    """Returns the tensor that a get_attr node reads; None for any other node."""
    if not isinstance(node, Node) or node.op != "get_attr":
        return None
    value = reduce(getattr, str(node.target).split("."), graph_module)
    return value.detach() if isinstance(value, torch.Tensor) else None


def get_constant(graph_module: GraphModule, node: Any) -> torch.Tensor | None:
    """Returns the value of a node that depends on constants alone; None where an input or a random number takes part."""
    if not isinstance(node, Node) or node.op != "call_function":
        return constant_of(graph_module, node)
    if not isinstance(node.target, torch._ops.OpOverload) or _RANDOM in node.target.tags:
        return None
    values: dict[Node, torch.Tensor] = {}
    for source in node.all_input_nodes:
        value = get_constant(graph_module, source)
        if value is None:
            return None
        values[source] = value
    with torch.no_grad():
        result = node.target(
            *map_arg(node.args, values.__getitem__), **map_arg(node.kwargs, values.__getitem__)
        )
    return result if isinstance(result, torch.Tensor) else None


def fold_constants(graph_module: GraphModule) -> None:
    """Computes now what depends on constants alone; a value that is read twice is held once."""
    held: dict[tuple[Any, ...], Node] = {}
    for node in list(graph_module.graph.nodes):
        if node.op == "get_attr":
            value = constant_of(graph_module, node)
            if value is not None:
                first = held.setdefault((value.data_ptr(), value.shape, value.stride(), value.dtype), node)
                if first is not node:
                    node.replace_all_uses_with(first)
            continue
        if node.op != "call_function" or not node.all_input_nodes:
            continue
        if all(source.op == "get_attr" for source in node.all_input_nodes):
            key = (node.target, str(node.args), str(node.kwargs))
            result = None if key in held else get_constant(graph_module, node)
            if key not in held and result is not None:
                held[key] = put_constant(graph_module, result.contiguous(), node, "weight")
            if key in held:
                node.replace_all_uses_with(held[key])


def plain_numbers(graph_module: GraphModule) -> None:
    """Turns a constant without dimensions that takes part in arithmetic into a number, as in `x + 3`."""
    for node in graph_module.graph.nodes:
        if node.target in _ARITHMETIC:
            left, *rest = node.args
            scalars = [constant_of(graph_module, value) for value in rest]
            node.args = (
                left,
                *(
                    value if scalar is None or scalar.ndim else scalar.item()
                    for value, scalar in zip(rest, scalars, strict=True)
                ),
            )


def put_constant(
    graph_module: GraphModule, value: torch.Tensor, before: Node, role: str, trained: bool = True
) -> Node:
    """Puts a get_attr node in front of `before` that reads `value`.

    Args:
        graph_module: The graph, changed in place.
        value: The constant.
        before: The node that the new one is put in front of.
        role: What the constant is to its layer, such as "kernel"; part of its name.
        trained: Whether it becomes a parameter; else a buffer.

    Returns:
        The new node.
    """
    value = value.detach().clone()
    name = _free_name(graph_module, f"{module_path(before) or before.name}_{role}".replace(".", "_"))
    if trained and value.is_floating_point():
        graph_module.register_parameter(name, nn.Parameter(value))
    else:
        graph_module.register_buffer(name, value)
    with before.graph.inserting_before(before):
        node = before.graph.get_attr(name)
    node.meta["val"] = _fake_mode(before.graph).from_tensor(value, static_shapes=True)
    return node


def drop_unused(graph_module: GraphModule) -> None:
    """Deletes the parameters and buffers that no node reads any more."""
    read = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    named = [*graph_module.named_parameters(), *graph_module.named_buffers()]
    for name in [name for name, _ in named if name not in read]:
        path, _, last = name.rpartition(".")
        owner = graph_module.get_submodule(path)
        if isinstance(owner, nn.ParameterDict):
            del owner[last]
        else:
            delattr(owner, last)


def _fake_mode(graph: torch.fx.Graph) -> Any:
    values = (node.meta.get("val") for node in graph.nodes)
    return next(value.fake_mode for value in values if hasattr(value, "fake_mode"))


def _free_name(graph_module: GraphModule, wanted: str) -> str:
    name, number = "".join(c if c.isalnum() else "_" for c in wanted), 0
    while hasattr(graph_module, name if not number else f"{name}_{number}"):
        number += 1
    return name if not number else f"{name}_{number}"
