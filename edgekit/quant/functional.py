"""What forward writes in place becomes values: `x.relu_()` is `relu(x)`, and later readers of x read the new value.

A write into a part of a tensor (`x[:, :4] = 0`) becomes a new whole (slice_scatter), and every other view of it that is read
later is taken of that. Left in place it would be lost where integers come in: a rounded tensor is a copy, and what is
written into one copy is not seen by those who read another.

`run_decompositions({})` would do this too, but it also turns batch_norm into an operator that the conv-bn patterns of
quantization-aware training do not match. A write into an input or a stored tensor goes to a copy of it: an artifact changes neither.
Left alone: writes through views whose inverse is not known here (diagonal, as_strided, unfold, split).
"""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant.views import is_alias, is_mutable, root_of, written

ATEN = torch.ops.aten

_RESHAPES = {
    ATEN.view.default, ATEN.reshape.default, ATEN.flatten.using_ints, ATEN.squeeze.default, ATEN.squeeze.dim,
    ATEN.squeeze.dims, ATEN.unsqueeze.default, ATEN.unflatten.int,
}  # fmt: skip
_IDENTITIES = {
    ATEN.alias.default, ATEN.detach.default, ATEN.contiguous.default, ATEN.dropout.default,
    ATEN.feature_dropout.default, ATEN.to.dtype,
}  # fmt: skip
_SCATTERS = {ATEN.slice.Tensor: ATEN.slice_scatter.default, ATEN.select.int: ATEN.select_scatter.default}


def functionalize(graph_module: GraphModule) -> None:
    """Turns each write into a value, as described in the head of this module."""
    copies = _own_copies(graph_module)
    order = {node: index for index, node in enumerate(graph_module.graph.nodes)}
    for node in list(graph_module.graph.nodes):
        replacement = _functional(node)
        if replacement is not None:
            _make_value(node, replacement, order)
    left = {root_of(target) for node in graph_module.graph.nodes for target in written(node)}
    for copy in copies:
        if copy not in left:
            copy.replace_all_uses_with(copy.args[0])
            graph_module.graph.erase_node(copy)


def _own_copies(graph_module: GraphModule) -> list[Node]:
    """Replaces each input and stored tensor that is written in place by a copy of it."""
    nodes = list(graph_module.graph.nodes)
    roots = dict.fromkeys(root_of(target) for node in nodes for target in written(node))
    last = [node for node in nodes if node.op == "placeholder"][-1]
    made: list[Node] = []
    for root in nodes:
        if root not in roots or root.op not in ("placeholder", "get_attr"):
            continue
        with graph_module.graph.inserting_after(last if root.op == "placeholder" else root):
            copy = graph_module.graph.call_function(ATEN.clone.default, (root,))
        copy.meta = dict(root.meta)
        root.replace_all_uses_with(copy, delete_user_cb=lambda user, own=copy: user is not own)
        made.append(copy)
    return made


def _functional(node: Node) -> torch._ops.OpOverload | None:
    """Returns `aten.relu.default` for a call of `aten.relu_.default`, None for every other node."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return None
    namespace, name = node.target._schema.name.split("::")
    if namespace != "aten" or not name.endswith("_") or name.startswith("_"):
        return None
    packet = getattr(ATEN, name[:-1], None)
    return getattr(packet, node.target._overloadname, None) if packet is not None else None


def _make_value(node: Node, replacement: torch._ops.OpOverload, order: dict[Node, int]) -> None:
    """Makes the write a value; later readers of the memory read the new whole, or the view of it."""
    chain = _chain(node.args[0])
    root = chain[-1]
    if root.op != "call_function" or is_mutable(root) or not all(map(_can_go_back, chain[:-1])):
        return
    node.target = replacement
    place = _Place(node, order)
    versions = {chain[0]: node}
    for view in chain[:-1]:
        versions[view.args[0]] = _back(place, view, versions[view])
    for alias in sorted(_views_of(root), key=order.__getitem__):
        if alias not in versions and order[alias] < order[node] and _is_read_after(alias, order, order[node]):
            _renew(place, alias, versions, order)
    for alias, now in versions.items():
        alias.replace_all_uses_with(now, delete_user_cb=lambda user, at=order[node]: order[user] > at)


def _chain(target: Any) -> list[Node]:
    """Lists the tensor that is written, what it is a view of, and so on down to one that is not a view."""
    found = [target]
    while is_alias(found[-1]):
        found.append(found[-1].args[0])
    return found


def _views_of(root: Node) -> list[Node]:
    """Lists all nodes that share the memory of `root`, without `root` itself."""
    found, left = dict[Node, None](), [root]
    while left:
        source = left.pop()
        near = [user for user in source.users if is_alias(user) and user.args[0] is source]
        found |= dict.fromkeys(near)
        left += near
    return list(found)


def _is_read_after(alias: Node, order: dict[Node, int], at: int) -> bool:
    """Whether `alias`, or a view of it that was taken before, is read after `at`."""
    return any(
        order[user] > at or (is_alias(user) and _is_read_after(user, order, at)) for user in alias.users
    )


def _renew(place: "_Place", alias: Node, versions: dict[Node, Node], order: dict[Node, int]) -> None:
    """Takes the same view of the new version of what it is a view of."""
    base = alias.args[0]
    versions[alias] = place.call(alias, alias.target, (versions[base], *alias.args[1:]), alias.kwargs)


class _Place:
    """Where new calls go: after the write, one after another. They count as part of the write."""

    def __init__(self, node: Node, order: dict[Node, int]) -> None:
        self._last, self._order, self._at = node, order, order[node]

    def call(
        self, like: Node, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> Node:
        """Inserts a call whose value is like that of `like`."""
        with self._last.graph.inserting_after(self._last):
            made = self._last.graph.call_function(target, args, kwargs)
        made.meta = dict(like.meta)
        self._last, self._order[made] = made, self._at
        return made


def _can_go_back(view: Node) -> bool:
    target = view.target
    return (
        target in _RESHAPES | _IDENTITIES
        or target in _SCATTERS
        or target in (ATEN.permute.default, ATEN.transpose.int, ATEN.t.default)
    )


def _back(place: _Place, view: Node, now: Node) -> Node:
    """Returns what `view` was taken of, given that the view is now `now`."""
    base: Node = view.args[0]
    if view.target in _IDENTITIES:
        return now
    if view.target in _SCATTERS:
        return place.call(base, _SCATTERS[view.target], (base, now, *view.args[1:]), dict(view.kwargs))
    if view.target in _RESHAPES:
        return place.call(base, ATEN.reshape.default, (now, [int(d) for d in base.meta["val"].shape]))
    if view.target is ATEN.permute.default:
        dims = [d % len(view.args[1]) for d in view.args[1]]
        return place.call(base, ATEN.permute.default, (now, [dims.index(i) for i in range(len(dims))]))
    return place.call(base, view.target, (now, *view.args[1:]))
