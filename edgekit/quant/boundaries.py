"""Inputs and outputs of a converted graph that stay float, and why, where a profile with `integer_io` promises integers."""

from collections.abc import Callable, Iterator

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from edgekit.quant import concat, rules, tensors
from edgekit.quant.program import operator_of

QUANT = torch.ops.quantized_decomposed
QUANTIZE = QUANT.quantize_per_tensor.default
DEQUANTIZE = QUANT.dequantize_per_tensor.default
_KNOWN = (
    rules.UNARY
    | rules.BINARY_FULL
    | rules.SHARE
    | rules.FIXED.keys()
    | rules.FIXED_FULL.keys()
    | {concat.CAT}
)


def float_interfaces(model: GraphModule) -> tuple[str, ...]:
    """Returns a sentence for each input and output that stays float."""
    inputs = [node for node in model.graph.nodes if node.op == "placeholder" and rules.is_float(node)]
    (output,) = (node for node in model.graph.nodes if node.op == "output")
    outputs = enumerate(pytree.tree_leaves(output.args[0]))
    found = [
        f"input {node.name} stays float32: {_after(node)}" for node in inputs if not _is_read_rounded(node)
    ]
    found += [
        f"output output_{i} stays float32: {_before(model, node)}"
        for i, node in outputs
        if rules.is_float(node) and node.target is not DEQUANTIZE
    ]
    return tuple(found)


def _readers(node: Node) -> list[Node]:
    return [user for user in node.users if user.op == "call_function"]


def _is_read_rounded(node: Node) -> bool:
    return all(user.target is QUANTIZE for user in _readers(node))


def _after(node: Node) -> str:
    """Names the nearest operator behind an input that no rule knows, else the nearest that reads it in float."""
    way = list(_walk(node, lambda n: [user for user in _readers(n) if user.target is not QUANTIZE]))[1:]
    return _no_rule(next((found for found in way if found.target not in _KNOWN), way[0]))


def _before(model: GraphModule, node: Node) -> str:
    """Names the nearest operator before an output that no grid holds or no rule knows, else what makes the output."""
    for found in _walk(node, lambda n: [s for s in n.all_input_nodes if s.op == "call_function"]):
        if times := _times_apart(model, found):
            return f"its parts differ by {times:.0f} times in range, which one integer grid cannot hold"
        if found.target not in _KNOWN:
            return _no_rule(found)
    return _no_rule(node)


def _walk(start: Node, near: Callable[[Node], list[Node]]) -> Iterator[Node]:
    """Yields `start` and what is computed in float around it, the nearest first."""
    waiting, seen = [start], {start}
    while waiting:
        node = waiting.pop(0)
        yield node
        fresh = [other for other in near(node) if other not in seen and other.target is not DEQUANTIZE]
        seen.update(fresh)
        waiting += fresh


def _times_apart(model: GraphModule, node: Node) -> float:
    """Returns how much the parts that `node` joins, or stretches, differ in range; 0 where one grid holds them."""
    if node.target is concat.CAT:
        sizes = torch.tensor([part.args[1] for part in node.args[0] if part.target is DEQUANTIZE])
    else:
        factors = [source for source in node.all_input_nodes if source.op == "get_attr"]
        product = node.target is rules.ATEN.mul.Tensor and bool(factors)
        sizes = tensors.read(model, str(factors[0].target)).abs() if product else torch.zeros(0)
    sizes = sizes[sizes > 0]
    times = float(sizes.max() / sizes.min()) if sizes.numel() else 0.0
    return times if times > concat.APART else 0.0


def _no_rule(node: Node) -> str:
    operator = operator_of(node).rpartition(".")[0]
    layer = node.target in rules.MAC
    return (
        f"{operator} was left in float"
        if layer or node.target in _KNOWN
        else f"{operator} has no integer rule"
    )
