"""A float program run as half precision will: every result rounded to float16, except where it is kept in float32.

Sums inside one operator are in float32, as in the interpreter of Core ML programs. What float16 cannot hold, above
65504, becomes infinite.
"""

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node

from edgekit.quant.calibrate import Batch

MAX_FLOAT16 = 65504.0


class HalfSimulation(Interpreter):
    """Runs a float graph with results rounded to float16.

    Args:
        module: The float graph.
        keep: Names of operators that compute in float32; stored weights that only these read stay float32 too.
    """

    def __init__(self, module: GraphModule, keep: Iterable[str] = ()) -> None:
        super().__init__(module)
        self.keep = frozenset(keep)

    def run_node(self, n: Node) -> Any:
        """Runs one node and rounds its result to float16, unless the node is kept in float32."""
        value = super().run_node(n)
        if n.op in ("output", "placeholder") or n.name in self.keep or not _is_float(value):
            return value
        if n.op == "get_attr" and n.users and all(user.name in self.keep for user in n.users):
            return value
        return value.half().float()


class Largest(Interpreter):
    """Runs a graph in float; `found` holds the largest magnitude of every operator's result, over all runs."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.found: dict[str, float] = {}

    def run_node(self, n: Node) -> Any:
        """Runs one node and notes the largest magnitude of its result."""
        value = super().run_node(n)
        if n.op == "call_function" and _is_float(value) and value.numel():
            self.found[n.name] = max(self.found.get(n.name, 0.0), float(value.abs().max()))
        return value


def _is_float(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


@torch.no_grad()
def largest(module: GraphModule, samples: Iterable[Batch]) -> dict[str, float]:
    """Returns the largest magnitude over the samples, by node name."""
    watching = Largest(module)
    for sample in samples:
        watching.run(*sample)
    return watching.found


def overflowing(module: GraphModule, magnitudes: dict[str, float], headroom: float) -> set[str]:
    """Finds the operators that half precision must keep in float32.

    Args:
        module: The float graph.
        magnitudes: The largest magnitude by node name, from `largest`.
        headroom: How many times the seen magnitude a result may reach.

    Returns:
        Operators whose result may leave float16, and those that read one: a cast of it would be infinite.
    """
    born = {name for name, value in magnitudes.items() if value > MAX_FLOAT16 / headroom}
    readers = {
        u.name for n in module.graph.nodes if n.name in born for u in n.users if u.op == "call_function"
    }
    return born | readers


def work(node: Node) -> int:
    """Returns the multiply-accumulates of a layer; for anything else how many numbers it writes."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return 0
    weight = node.args[1] if len(node.args) > 1 else None
    stored = weight.meta.get("val") if isinstance(weight, Node) and weight.op == "get_attr" else None
    depth = prod(stored.shape[1:]) if isinstance(stored, torch.Tensor) and stored.dim() > 1 else 1
    return value.numel() * depth
