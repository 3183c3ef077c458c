"""Concatenations whose operands one integer grid cannot hold, and those that keep a grid of their own before it.

A grid of 256 steps over [0, 640] can represent one score between 0 and 1: 0. A tensor that holds boxes and scores together is not a
tensor of integers. So a concatenation that only becomes an output stays float where its operands differ by more than
APART times in range. Inside a network it is an integer one all the same; an operand that something else reads too, and that
uses less than a share of 1 / OWN of the common range, keeps its own grid there and is rounded again for the concatenation.

Ranges are seen in a few float runs before anything is annotated; without samples all are taken as alike.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node

from edgekit.quant import rules, tensors
from edgekit.quant.calibrate import Batch
from edgekit.quant.program import calls

APART = 8.0  # five of the eight bits are left to the smaller one
OWN = 4.0
CAT = rules.ATEN.cat.default
_MOVES = rules.SHARE | {CAT}


class Ranges:
    """The ranges of the operands of concatenations over all samples, zero included: high - low by node."""

    def __init__(self, model: GraphModule, samples: Sequence[Batch]) -> None:
        self._found: dict[Node, tuple[float, float]] = {}
        watched = {operand for node in calls(model) if node.target is CAT for operand in node.args[0]}
        if watched:
            watch = _Watch(model, watched, self._found)
            with torch.no_grad():
                for sample in samples:
                    watch.run(*sample)

    def of(self, node: Node) -> float:
        """Returns the width of the range of `node`, 0 where nothing is known."""
        low, high = self._found.get(node, (0.0, 0.0))
        return high - low

    def ratio(self, cat: Node) -> float:
        """Returns the widest operand over the narrowest that is not constantly zero; 1 where nothing is known."""
        spans = [span for operand in cat.args[0] if (span := self.of(operand)) > 0]
        return max(spans) / min(spans) if spans else 1.0

    def differ(self, cat: Node) -> bool:
        """Whether the operands of `cat` differ by more than APART times in range."""
        return self.ratio(cat) > APART

    def deserves_own(self, operand: Node, cat: Node) -> bool:
        """Whether readers other than concatenations profit from a finer grid than that of `cat`."""
        others = any(user.target is not CAT and user.op != "output" for user in operand.users)
        return others and 0 < self.of(operand) * OWN < max(self.of(other) for other in cat.args[0])


class _Watch(Interpreter):
    """Runs the float graph and notes the smallest and largest value of the watched nodes."""

    def __init__(
        self, model: GraphModule, watched: set[Node], found: dict[Node, tuple[float, float]]
    ) -> None:
        super().__init__(model)
        self._watched, self._found = watched, found

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n in self._watched and value.numel():
            low, high = self._found.get(n, (0.0, 0.0))
            least, most = (float(end) for end in torch.aminmax(value))
            self._found[n] = min(low, least), max(high, most)
        return value


def only_becomes_output(node: Node) -> bool:
    """Whether `node` is at most moved and joined on every path to an output."""
    return bool(node.users) and all(
        user.op == "output" or (user.target in _MOVES and only_becomes_output(user)) for user in node.users
    )


def scales_apart(model: GraphModule, product: Node, factor: Node) -> bool:
    """Whether a product that only becomes an output stretches parts of it by very different stored factors."""
    if product.target is not rules.ATEN.mul.Tensor or not only_becomes_output(product):
        return False
    sizes = tensors.read(model, str(factor.target)).abs()
    sizes = sizes[sizes > 0]
    return bool(sizes.numel() and sizes.max() > APART * sizes.min())
