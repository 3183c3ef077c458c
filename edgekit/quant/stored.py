"""Where a constant that was folded is stored: under what name, and whether training continues with it.

A weight of a layer that was parametrized is stored under the name that torch gives it without the parametrization, so that it fits
the module without it, too (`edgekit.prune.plain`). Anything else gets a name that begins with FOLDED.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.fx import GraphModule, Node

from edgekit.quant import rules, tensors
from edgekit.quant.program import module_path

FOLDED = "folded_"
#: what a layer calls its operands, by position
_LAYER = {1: "weight", 2: "bias"}
_NORM = {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"}
#: of weight_norm and spectral_norm before they were parametrizations
_OLDER = ("g", "v", "orig", "u")


class Place(NamedTuple):
    """The place where a constant is stored.

    Attributes:
        owner: The path of a module.
        name: The name of the tensor in it.
        trained: Whether it is a parameter.
        saved: Whether a buffer is part of the state dict.
    """

    owner: str
    name: str
    trained: bool
    saved: bool = True


def store(graph_module: GraphModule, node: Node, value: torch.Tensor, made_of: Sequence[Node]) -> Node:
    """Stores a constant.

    Args:
        graph_module: The graph, changed in place.
        node: The node that computed the constant.
        value: The constant.
        made_of: The stored tensors that it is made of.

    Returns:
        A node in front of `node` that reads `value`.
    """
    place = _place(graph_module, node, made_of)
    owner, name, number = graph_module.get_submodule(place.owner), place.name, 0
    while hasattr(owner, name):
        number += 1
        name = f"{place.name}_{number}"
    if place.trained:
        owner.register_parameter(name, nn.Parameter(value))
    else:
        owner.register_buffer(name, value, persistent=place.saved)
    with node.graph.inserting_before(node):
        stored = node.graph.get_attr(f"{place.owner}.{name}".removeprefix("."))
    fake = node.meta["val"].fake_mode
    stored.meta["val"] = fake.from_tensor(value, static_shapes=True)
    return stored


def operand(node: Node) -> tuple[Node, str] | None:
    """Returns the layer or norm that reads `node`, and what the node is to it; None where there is none."""
    for user in node.users:
        is_layer = user.target in rules.MAC | rules.FLOAT_MAC
        roles = _LAYER if is_layer else _NORM if user.target in rules.NORM else {}
        for position, role in roles.items():
            if len(user.args) > position and user.args[position] is node:
                return user, role
    return None


def _place(graph_module: GraphModule, node: Node, sources: Sequence[Node]) -> Place:
    found = operand(node)
    learned = any(
        isinstance(tensors.held(graph_module, str(source.target)), nn.Parameter) for source in sources
    )
    floats = node.meta["val"].is_floating_point()
    if found is not None:
        reader, role = found
        owner = module_path(reader)
        trained = floats and role in _LAYER.values()
        if _is_parametrized(owner, role, sources) and _is_free(graph_module, owner, role):
            return Place(owner, role, trained)
        learned = learned or trained
    return Place("", f"{FOLDED}{node.name}", trained=learned and floats, saved=learned and floats)


def _is_parametrized(owner: str, role: str, sources: Sequence[Node]) -> bool:
    """Whether the sources are `owner.parametrizations.weight...`, or `owner.weight_g` as of the older hooks."""
    names = [str(source.target) for source in sources]
    older = {f"{owner}.{role}_{end}" for end in _OLDER}
    return bool(names) and all(n in older or n.startswith(f"{owner}.parametrizations.{role}.") for n in names)


def _is_free(graph_module: GraphModule, owner: str, name: str) -> bool:
    try:
        return not hasattr(graph_module.get_submodule(owner), name)
    except AttributeError:
        return False
