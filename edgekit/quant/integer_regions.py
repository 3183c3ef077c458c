"""The layers of a prepared graph and the integer tensors between them: what mixed precision chooses from.

A layer is a convolution or linear with an observed weight. A tensor is one observed edge. Which tensors stay
integers follows from which layers do, by the rules of `edgekit.quant.quantizer`:
- a layer's input and output are integers if the layer is; a tensor is float only where what makes it is float, and every
  layer that reads it;
- an operator between layers (add, mul, hardswish, pools) is float as soon as one of its inputs is made in float.
"""

from collections.abc import Iterator
from math import prod

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import rules
from edgekit.quant.program import calls, module_path, origin
from edgekit.records import Record

#: operators that integers pass through; whatever else makes a tensor makes it in float
_COMPUTES = (
    rules.BINARY_FULL
    | rules.UNARY
    | rules.SHARE
    | rules.FIXED.keys()
    | rules.FIXED_FULL.keys()
    | {rules.ATEN.cat.default}
)


class Layer(Record):
    """A convolution or linear layer with an observed weight.

    Attributes:
        name: The name of its node.
        module: The path of the module that it came from.
        origin: The module with its class, as `edgekit.quant.program.origin` writes it.
        weight: The name of the observer of its weight.
        macs: Multiply-accumulates of one run of the program.
        weights: How many numbers the weight holds.
        bias: The path of the stored bias, if it has one.
    """

    name: str
    module: str
    origin: str
    weight: str
    macs: int
    weights: int
    bias: str | None = None


class Tensor(Record):
    """One observed edge.

    Attributes:
        observers: All observers that stand on it, one for each node that reads it separately.
        elements: How many numbers it holds.
        maker: The layer that makes it, or None.
        sources: Indices of the tensors that are read by the operator which makes it, where that is not a layer. Empty:
            it is made in float, whatever is chosen.
        readers: The layers that read it.
        operators: For each other operator that reads it, the indices of all tensors which that operator reads.
    """

    observers: tuple[str, ...]
    elements: int
    maker: str | None
    sources: tuple[int, ...]
    readers: tuple[str, ...]
    operators: tuple[tuple[int, ...], ...]


class IntegerRegions(Record):
    """The layers and tensors of a prepared graph, both in the order of the graph."""

    layers: tuple[Layer, ...]
    tensors: tuple[Tensor, ...]

    @property
    def macs(self) -> int:
        """The multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)


def network(prepared: GraphModule) -> IntegerRegions:
    """Reads the layers and tensors of a graph that `prepare_pt2e` made."""
    watched = {node: _observed(prepared, node) for node in prepared.graph.nodes}
    layers = tuple(_layer(node) for node in calls(prepared) if _is_layer(node, watched))
    edges: dict[Node, list[Node]] = {}
    for node, observes in watched.items():
        if observes and not _stored(node):
            edges.setdefault(_value(node, watched), []).append(node)
    index = {value: number for number, value in enumerate(edges)}
    tensors = tuple(_tensor(value, edges[value], index, watched) for value in edges)
    return IntegerRegions(layers=layers, tensors=tensors)


def _observed(prepared: GraphModule, node: Node) -> bool:
    return node.op == "call_module" and hasattr(prepared.get_submodule(str(node.target)), "calculate_qparams")


def _stored(observer: Node) -> bool:
    return observer.args[0].op == "get_attr"


def _is_layer(node: Node, watched: dict[Node, bool]) -> bool:
    weight = node.args[1] if node.target in rules.MAC else None
    return isinstance(weight, Node) and watched[weight]


def _layer(node: Node) -> Layer:
    weight = node.args[1]
    shape = weight.args[0].meta["val"].shape
    return Layer(
        name=node.name,
        module=module_path(node),
        origin=origin(node) or node.name,
        weight=str(weight.target),
        bias=_bias(node),
        macs=int(prod(node.meta["val"].shape) * prod(shape[1:])),
        weights=int(prod(shape)),
    )


def _bias(node: Node) -> str | None:
    bias = node.args[2] if len(node.args) > 2 else None
    return str(bias.target) if isinstance(bias, Node) and bias.op == "get_attr" else None


def _value(node: Node, watched: dict[Node, bool]) -> Node:
    """Returns what an observer, or a chain of them, stands on."""
    while watched[node]:
        node = node.args[0]
    return node


def _tensor(value: Node, edge: list[Node], index: dict[Node, int], watched: dict[Node, bool]) -> Tensor:
    maker, sources = _maker(value, index, watched)
    readers, operators = [], []
    for user in _users(value, watched):
        layer = _unit_of(user, watched)
        if layer is not None:
            readers.append(layer.name)
        elif user.op == "call_function":
            operators.append(_read_tensors(user, index, watched))
    return Tensor(
        observers=tuple(str(node.target) for node in edge),
        elements=prod(value.meta["val"].shape) if isinstance(value.meta.get("val"), torch.Tensor) else 1,
        maker=maker,
        sources=sources,
        readers=tuple(dict.fromkeys(readers)),
        operators=tuple(operators),
    )


def _maker(
    value: Node, index: dict[Node, int], watched: dict[Node, bool]
) -> tuple[str | None, tuple[int, ...]]:
    """Returns the layer whose unit ends at `value`, or the tensors that the operator reads."""
    node = value
    while node.target in rules.FUSED | rules.NORM and not watched[node.args[0]]:
        node = node.args[0]
    if _is_layer(node, watched):
        return node.name, ()
    operands = [_value(source, watched) for source in node.all_input_nodes if source.op != "get_attr"]
    computes = node.target in _COMPUTES and all(v in index or v.op == "get_attr" for v in operands)
    return None, _read_tensors(node, index, watched) if computes else ()


def _unit_of(user: Node, watched: dict[Node, bool]) -> Node | None:
    """Returns the layer that `user` is, or the layer behind a pad that `user` is."""
    if _is_layer(user, watched):
        return user
    behind = rules.only_user(user) if rules.is_zero_pad(user) else None
    return behind if behind is not None and _is_layer(behind, watched) else None


def _users(value: Node, watched: dict[Node, bool]) -> Iterator[Node]:
    """Yields the readers of the value, behind its observers or past them."""
    for user in value.users:
        if watched[user]:
            yield from _users(user, watched)
        else:
            yield user


def _read_tensors(node: Node, index: dict[Node, int], watched: dict[Node, bool]) -> tuple[int, ...]:
    values = [_value(source, watched) for source in node.all_input_nodes]
    return tuple(dict.fromkeys(index[value] for value in values if value in index and value.op != "get_attr"))
