"""Where a graph reads words: the input whose numbers an embedding looks up, and the inner tensor with a vector for each of them."""

from typing import NamedTuple

import torch
from torch.fx import GraphModule, Node

from edgekit.distill import taps
from edgekit.errors import NotApplicable, UserError

_ATEN = torch.ops.aten
_LOOKUP = _ATEN.embedding.default
#: what hands numbers on unchanged and in their places
_SAME = {
    _ATEN.to.dtype, _ATEN.to.dtype_layout, _ATEN._to_copy.default, _ATEN.clone.default, _ATEN.contiguous.default,
    _ATEN.alias.default, _ATEN.detach.default,
}  # fmt: skip


class Tokens(NamedTuple):
    """An input of tokens [N, L] and the embedding that it feeds.

    Attributes:
        number: The place of the input among all.
        name: Its name.
        length: Tokens in a sample, L.
        lookup: The node of the embedding.
        table: The path of its weight [words, width].
        words: The rows of the table.
        width: Its columns.
        padding: The number that the embedding itself knows as padding; None where it knows none.
    """

    number: int
    name: str
    length: int
    lookup: Node
    table: str
    words: int
    width: int
    padding: int | None


def find(graph: GraphModule, name: str = "") -> Tokens:
    """Finds the input of tokens.

    Args:
        graph: The graph.
        name: The name of the input; "" where there is only one.

    Raises:
        NotApplicable: No input feeds an embedding.
        UserError: Several do and none is named, or the one that is named does not.
    """
    found = {tokens.name: tokens for tokens in _all(graph)}
    names = ", ".join(found)
    if not found:
        inputs = ", ".join(f"{node.name} {taps.shape(node)}" for node in _inputs(graph))
        raise NotApplicable(
            f"the network has no tokens to predict: none of its inputs ({inputs}) is a tensor [N, L] of whole numbers that an embedding "
            "looks up; masked tokens are for networks that read text"
        )
    if name and name not in found:
        raise UserError(f"no embedding looks up an input {name!r}; those that one does are {names}")
    if not name and len(found) > 1:
        raise UserError(
            f"embeddings look up several inputs, {names}; say which holds the text: tokens={next(iter(found))}"
        )
    return found[name or names]


def hidden(graph: GraphModule, tokens: Tokens, name: str = "") -> str:
    """Returns the module whose output [N, L, C] has a vector for each token.

    Args:
        graph: The graph.
        tokens: The input of tokens.
        name: The module; "" for the last one that is not an output of the network.

    Raises:
        UserError: There is no such module, or its output is of another shape.
        NotApplicable: No module between the embedding and the outputs has such an output.
    """
    fitting = _fitting(graph, tokens)
    if name:
        node = taps.find(graph, name, "student")
        if node not in fitting.values():
            raise UserError(
                f"hidden={name} is {taps.shape(node)}, and a vector for each token behind the embedding is [1, {tokens.length}, C]; "
                f"such are {', '.join(fitting) or 'none'}"
            )
        return name
    (end,) = graph.graph.find_nodes(op="output")
    inner = {path: node for path, node in fitting.items() if node not in end.all_input_nodes}
    if not inner:
        raise NotApplicable(
            f"no module between the embedding and the outputs gives [1, {tokens.length}, C], a vector for each token; "
            "name one that does: hidden=MODULE"
        )
    last = list(inner.values())[-1]
    return next(path for path, node in inner.items() if node is last)


def behind(node: Node) -> set[str]:
    """Returns the paths of the tensors that a node is computed from."""
    seen, waiting = {node}, [node]
    while waiting:
        new = set(waiting.pop().all_input_nodes) - seen
        seen |= new
        waiting += new
    return {str(each.target) for each in seen if each.op == "get_attr"}


def _all(graph: GraphModule) -> list[Tokens]:
    """Lists the inputs that an embedding looks up, each with its largest one."""
    lookups = graph.graph.find_nodes(op="call_function", target=_LOOKUP)
    inputs, found = _inputs(graph), dict[Node, Tokens]()
    for lookup in sorted(lookups, key=lambda node: int(node.args[0].meta["val"].shape[0])):
        source = _source(lookup.args[1])
        if source.op == "placeholder" and source.meta["val"].dim() == 2 and lookup.args[0].op == "get_attr":
            found[source] = _tokens(inputs.index(source), source, lookup)
    return sorted(found.values())


def _tokens(number: int, source: Node, lookup: Node) -> Tokens:
    table, _, *more = lookup.args
    words, width = map(int, table.meta["val"].shape)
    padding = more[0] if more and more[0] >= 0 else None
    return Tokens(
        number,
        source.name,
        int(source.meta["val"].shape[1]),
        lookup,
        str(table.target),
        words,
        width,
        padding,
    )


def _source(node: Node) -> Node:
    while node.target in _SAME:
        node = node.args[0]
    return node


def _inputs(graph: GraphModule) -> list[Node]:
    return graph.graph.find_nodes(op="placeholder")


def _fitting(graph: GraphModule, tokens: Tokens) -> dict[str, Node]:
    """Returns the modules whose output has a vector for each token, but for the embedding, which sees no other words."""
    return {
        path: node
        for path, node in taps.outputs(graph).items()
        if taps.shape(node)[:2] == [1, tokens.length]
        and len(taps.shape(node)) == 3
        and node is not tokens.lookup
    }
