"""New calls in a graph whose nodes carry fake values: each gets the value, shape and type alone, that its arguments give it."""

from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg


def insert(before: Node, target: Any, args: tuple[Any, ...], origin: Node | None = None) -> Node:
    """Inserts a call in front of another node.

    Args:
        before: The node that the new call is put in front of.
        target: The operator to call.
        args: Its arguments.
        origin: The node whose module the call belongs to; `before` where it is None.

    Returns:
        The new node, with the fake value that it has.
    """
    with before.graph.inserting_before(before):
        node = before.graph.call_function(target, args)
    fill_meta(node, origin or before)
    return node


def insert_after(last: Node, target: Any, args: tuple[Any, ...]) -> Node:
    """Inserts a call behind another node, with the fake value that it has."""
    with last.graph.inserting_after(last):
        node = last.graph.call_function(target, args)
    fill_meta(node, last)
    return node


def fill_meta(node: Node, origin: Node) -> None:
    """Gives a new node the module of `origin`, and its own fake value."""
    node.meta = {key: value for key, value in origin.meta.items() if key != "val"}
    revalue(node)


def revalue(node: Node) -> None:
    """Sets the fake value of a node whose arguments changed."""
    args = map_arg(node.args, lambda n: n.meta["val"])
    kwargs = map_arg(node.kwargs, lambda n: n.meta["val"])
    with torch.no_grad():
        node.meta["val"] = node.target(*args, **kwargs)  # type: ignore[operator]
