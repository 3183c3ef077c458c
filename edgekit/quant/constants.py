"""What depends on no input is computed once, when the model is traced, and stored.

A weight under weight_norm, spectral_norm or any other parametrization, `torch.eye(3)`, a mask built of `arange`: left in
the graph they would run with every inference, a convolution would have no constant weight to make integers of, and
TFLite has no operator for some (`eye`, `arange`).

Left alone: what draws random numbers; what an input is written into; a view of one stored tensor, which costs nothing; and what
would make the file larger: more than SMALL bytes and more than GROWS times the tensors that it is made of, or a second
copy of a tensor that is read elsewhere too.

A folded weight of a layer is a parameter that training continues with, under the name that torch gives it without its
parametrization (`edgekit.quant.stored`).
"""

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from edgekit.quant import rules, tensors
from edgekit.quant.stored import operand, store
from edgekit.quant.views import is_mutable, is_view, root_of, written

ATEN = torch.ops.aten

SMALL = 1_000_000  # bytes
COPIED = 4096  # bytes, of a constant whose source is stored as well
GROWS = 2

_SAME = rules.known(
    "lift_fresh_copy.default", "clone.default", "detach.default", "alias.default", "contiguous.default"
)
FREE = "of a free length"  # key of a node's meta (`edgekit.quant.free_arguments`)
_RANDOM = torch.Tag.nondeterministic_seeded


def fold_constants(graph_module: GraphModule) -> None:
    """Stores what depends on no input, as described in the head of this module."""
    _drop_copies(graph_module)
    constant = _constants(graph_module)
    _drop_checks(constant)
    values = _written(graph_module, constant)
    for node in list(graph_module.graph.nodes):
        if node.op == "call_function" and node in constant and _leaves(node, constant):
            _fold(graph_module, node, constant, values)
    for node in reversed(list(graph_module.graph.nodes)):
        if node in constant and is_mutable(node) and not node.users:
            graph_module.graph.erase_node(node)
    graph_module.graph.eliminate_dead_code()
    _drop_sources(graph_module, constant)


def _constants(graph_module: GraphModule) -> set[Node]:
    """Returns the nodes that depend on stored tensors alone.

    No random number takes part in them, and nothing that an input is written into.
    """
    moving: set[Node] = set()
    while True:
        found = _apart(graph_module, moving)
        more = _moved(graph_module, found)
        if more <= moving:
            return found
        moving |= more


def _apart(graph_module: GraphModule, moving: set[Node]) -> set[Node]:
    """Returns the nodes that depend on stored tensors alone, and not on those whose memory is `moving`."""
    found = set[Node]()
    for node in graph_module.graph.nodes:
        if root_of(node) in moving:
            continue
        if node.op == "get_attr":
            if node.users and isinstance(node.meta.get("val"), torch.Tensor):
                found.add(node)
        elif node.op == "call_function" and _is_pure(node) and all(s in found for s in node.all_input_nodes):
            found.add(node)
    return found


def _moved(graph_module: GraphModule, constant: set[Node]) -> set[Node]:
    """Returns the memory of written tensors that may not be computed once.

    It is stored memory, or memory that something which depends on an input writes, or reads before the last write.
    """
    order = {node: index for index, node in enumerate(graph_module.graph.nodes)}
    last = {root_of(target): order[node] for node in order for target in written(node)}
    found = {root for root in last if root.op != "call_function"}
    for node in order:
        root = root_of(node)
        if root in last and (
            node not in constant
            or any(user not in constant and order[user] < last[root] for user in node.users)
        ):
            found.add(root)
    return found


def _is_pure(node: Node) -> bool:
    """Whether the same inputs give the same tensors."""
    if node.target is operator.getitem:
        return True
    if FREE in node.meta:
        return False
    known = isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten"
    values = pytree.tree_leaves(node.meta.get("val"))
    tensor = bool(values) and all(isinstance(value, torch.Tensor) for value in values)
    return known and tensor and _RANDOM not in node.target.tags  # type: ignore[union-attr]


def _written(graph_module: GraphModule, constant: set[Node]) -> dict[Node, Any]:
    """Returns the final values of constants where some are written in place; else nothing, to be computed as needed."""
    values: dict[Node, Any] = {}
    if any(is_mutable(node) for node in constant):
        for node in graph_module.graph.nodes:
            if node in constant:
                _value(graph_module, node, values)
    return values


def _leaves(node: Node, constant: set[Node]) -> bool:
    """Whether something that depends on an input reads it."""
    return any(user not in constant for user in node.users)


def _fold(graph_module: GraphModule, node: Node, constant: set[Node], values: dict[Node, Any]) -> None:
    """Stores the node or, where that is too large, what it is made of."""
    if _pays(node, constant):
        value = _value(graph_module, node, values).detach().clone(memory_format=torch.contiguous_format)
        stored = store(graph_module, node, value, sources(node))
        node.replace_all_uses_with(stored)
        return
    for source in node.all_input_nodes:
        if source.op == "call_function" and source in constant and len(source.users):
            _fold(graph_module, source, constant, values)


def _pays(node: Node, constant: set[Node]) -> bool:
    if not isinstance(node.meta["val"], torch.Tensor):
        return False
    made_of = sources(node)
    if operand(node) is None and len(made_of) == 1 and _is_one_view(node):
        return False
    size, stored = _bytes(node), sum(map(_bytes, made_of))
    if any(user not in constant for source in made_of for user in source.users):
        return size <= COPIED
    return size <= max(SMALL, GROWS * stored)


def _is_one_view(node: Node) -> bool:
    """Whether the node is a stored tensor, moved about and no larger."""
    while node.op != "get_attr":
        if not is_view(node) or len(node.all_input_nodes) != 1:
            return False
        node = node.all_input_nodes[0]
    return True


def sources(node: Node) -> list[Node]:
    """Returns the stored tensors that the node is made of."""
    found, left = dict[Node, None](), [node]
    while left:
        for source in left.pop().all_input_nodes:
            if source not in found:
                found[source] = None
                left.append(source)
    return [source for source in found if source.op == "get_attr"]


def _bytes(node: Node) -> int:
    value = node.meta["val"]
    return int(value.numel() * value.element_size())


@torch.no_grad()
def _value(graph_module: GraphModule, node: Node, values: dict[Node, Any]) -> Any:
    if node.op == "get_attr":
        return tensors.read(graph_module, str(node.target))
    if node not in values:
        given = {source: _value(graph_module, source, values) for source in node.all_input_nodes}
        args, kwargs = (map_arg(part, given.__getitem__) for part in (node.args, node.kwargs))
        values[node] = node.target(*args, **kwargs)  # type: ignore[operator, misc]
    return values[node]


def _drop_copies(graph_module: GraphModule) -> None:
    """Replaces a copy of a stored tensor that nothing writes to by the tensor itself."""
    roots = {root_of(target) for node in graph_module.graph.nodes for target in written(node)}
    for node in list(graph_module.graph.nodes):
        source = node.args[0] if node.target in _SAME else None
        if source is None or source.op != "get_attr" or node.kwargs or {root_of(node), source} & roots:
            continue
        before, after = source.meta["val"], node.meta["val"]
        if (before.dtype, before.shape) == (after.dtype, after.shape):
            node.replace_all_uses_with(source)


def _drop_checks(constant: set[Node]) -> None:
    """Drops checks of the types of constants: what is computed once needs no check with every inference."""
    for node in constant:
        for user in list(node.users):
            if user.target is ATEN._assert_tensor_metadata.default:
                user.graph.erase_node(user)


def _drop_sources(graph_module: GraphModule, constant: set[Node]) -> None:
    """Drops what was stored only to be folded."""
    read = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    for path in {str(n.target) for n in constant if n.op == "get_attr"} - read:
        *parents, name = path.split(".")
        delattr(graph_module.get_submodule(".".join(parents)), name)
