"""Which tensors of a graph are one memory, and which are written in place."""

import torch
from torch.fx import Node

ATEN = torch.ops.aten

_MAY_ALIAS = {
    ATEN.dropout.default,
    ATEN.feature_dropout.default,
    ATEN.to.dtype,
}  # views that the schema hides


#: views of contiguous tensors
_MAY_COPY = {ATEN.reshape.default, ATEN.flatten.using_ints, ATEN.contiguous.default}


def is_mutable(node: Node) -> bool:
    """Whether the node writes into what it reads."""
    return (
        node.op == "call_function"
        and isinstance(node.target, torch._ops.OpOverload)
        and node.target._schema.is_mutable
    )


def is_view(node: Node) -> bool:
    """Whether the result of the node may share the memory of its first argument."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    aliased = any(result.alias_info is not None for result in node.target._schema.returns)
    return (aliased and not node.target._schema.is_mutable) or node.target in _MAY_ALIAS


def is_alias(node: Node) -> bool:
    """Whether the node surely is the memory of its first argument: `reshape` and `to` copy where they must."""
    if not is_view(node) or not isinstance(node.args[0], Node):
        return False
    base, value = node.args[0].meta.get("val"), node.meta.get("val")
    if not isinstance(base, torch.Tensor) or not isinstance(value, torch.Tensor) or base.dtype != value.dtype:
        return False
    return node.target not in _MAY_COPY or base.is_contiguous()


def root_of(node: Node) -> Node:
    """Returns the tensor whose memory it is: through views and through operators that return what they wrote."""
    while (is_view(node) or is_mutable(node)) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node


def written(node: Node) -> list[Node]:
    """Lists the arguments that a node writes into."""
    if not is_mutable(node):
        return []
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = {a.name: v for a, v in zip(schema, node.args, strict=False)} | node.kwargs
    names = [a.name for a in schema if a.alias_info is not None and a.alias_info.is_write]
    return [value for name in names if isinstance(value := given.get(name), Node)]
