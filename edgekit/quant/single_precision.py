"""What a model computes in float64 on its way is computed in float32: no target is made for more.

A buffer made of numpy's numbers, or a scalar of 64 bits, makes a part of forward double without anyone having asked for it. Numbers
that come in or go out in 64 bits stay as they are.
"""

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import tensors
from edgekit.quant.program import origin


def to_single(graph_module: GraphModule) -> None:
    """Stores doubles in float32, and converts to float32 where forward converts to float64, in place."""
    nodes = doubles(graph_module)
    for node in list(graph_module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph_module.graph.erase_node(node)
    for node in nodes:
        if node.op == "get_attr":
            held = tensors.read(graph_module, str(node.target))
            tensors.write(graph_module, str(node.target), held.float())
        node.args = tuple(torch.float32 if arg is torch.float64 else arg for arg in node.args)
        node.kwargs = {
            key: torch.float32 if value is torch.float64 else value for key, value in node.kwargs.items()
        }
        node.meta["val"] = node.meta["val"].float()


def doubles(graph_module: GraphModule) -> list[Node]:
    """Returns what holds doubles; nothing where doubles come in or go out."""
    found = [node for node in graph_module.graph.nodes if _is_double(node)]
    outside = any(
        node.op == "placeholder" or any(user.op == "output" for user in node.users) for node in found
    )
    return [] if outside else found


def said(nodes: list[Node]) -> tuple[str, ...]:
    """Says that parts of forward were double, and where the first of them is."""
    computed = [node for node in nodes if node.op == "call_function"]
    if not computed:
        return ()
    place = origin(computed[0]) or "forward"
    stored = [str(node.target) for node in nodes if node.op == "get_attr"]
    made = f", made so by {stored[0]}" if stored else ""
    return (f"{place} computes in float64{made}: exported in float32",)


def _is_double(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float64
