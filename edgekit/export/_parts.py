"""Arithmetic on the real and the imaginary part of complex numbers, as nodes of a graph."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from edgekit.quant.rewriting import call, constant

ATEN = torch.ops.aten
Operator = Callable[[Any, Any], Node]


class Parts(NamedTuple):
    """The two parts: nodes, numbers of a literal, or None for an imaginary part of zeros."""

    real: Any
    imaginary: Any


class Writer:
    """Inserts calls in place of a node, with its origin, and notes the shapes of what they give."""

    def __init__(self, graph_module: GraphModule, node: Node) -> None:
        self.graph_module, self._node = graph_module, node
        self._like = pytree.tree_leaves(node.meta["val"])[0]

    def __call__(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        made = call(self.graph_module, self._node, target, args, **kwargs)
        given = map_arg(args, lambda source: _of_no_memory(source.meta["val"]))
        found = target(*given, **kwargs)
        made.meta["val"] = pytree.tree_map(lambda t: self._like.new_empty(t.shape, dtype=t.dtype), found)
        return made

    def stored(self, value: torch.Tensor) -> Node:
        """Stores a tensor."""
        return constant(self.graph_module, self._node, value.clone(memory_format=torch.contiguous_format))

    def filled(self, shape: Sequence[int], number: float = 0.0) -> Node:
        """Fills a shape with one number."""
        kind = {"dtype": torch.float32, "device": torch.device("cpu"), "pin_memory": False}
        return self(ATEN.full.default, list(shape), number, **kind)

    def whole(self, part: Any, shape: Sequence[int]) -> Node:
        """Gives a part as a tensor of this shape."""
        if not isinstance(part, Node):
            return self.filled(shape, part or 0.0)
        same = list(part.meta["val"].shape) == list(shape)
        return part if same else self(ATEN.expand.default, part, list(shape))

    def imaginary(self, z: Parts) -> Node:
        """Gives the imaginary part as a tensor."""
        return self.whole(z.imaginary, z.real.meta["val"].shape)

    def times(self, a: Any, b: Any) -> Any:
        """Multiplies tensors or numbers, element by element."""
        if not isinstance(a, Node):
            a, b = b, a
        return self(ATEN.mul.Tensor, a, b) if isinstance(a, Node) else a * b

    def plus(self, a: Any, b: Any) -> Any:
        """Adds what is not None."""
        if a is None or b is None:
            return b if a is None else a
        if not isinstance(a, Node):
            a, b = b, a
        return self(ATEN.add.Tensor, a, b) if isinstance(a, Node) else a + b

    def minus(self, a: Any, b: Any) -> Any:
        """Subtracts what is not None."""
        if b is None:
            return a
        if isinstance(a, Node):
            return self(ATEN.sub.Tensor, a, b)
        if isinstance(b, Node):
            return self(ATEN.neg.default, b) if a is None else self(ATEN.rsub.Scalar, b, a)
        return (a or 0.0) - b


def _of_no_memory(value: Any) -> Any:
    return pytree.tree_map(lambda t: torch.empty(t.shape, dtype=t.dtype, device="meta"), value)


def parts_of(value: Any) -> Parts:
    """Returns the parts of a complex or real operand."""
    return value if isinstance(value, Parts) else Parts(value, None)


def added(write: Writer, a: Any, b: Any) -> Parts:
    """Adds."""
    a, b = parts_of(a), parts_of(b)
    return _spread(write, Parts(write.plus(a.real, b.real), write.plus(a.imaginary, b.imaginary)))


def subtracted(write: Writer, a: Any, b: Any) -> Parts:
    """Subtracts."""
    a, b = parts_of(a), parts_of(b)
    return _spread(write, Parts(write.minus(a.real, b.real), write.minus(a.imaginary, b.imaginary)))


def _spread(write: Writer, found: Parts) -> Parts:
    """A part that met nothing in the other operand takes the shape of the result."""
    shape = found.real.meta["val"].shape
    return Parts(found.real, None if found.imaginary is None else write.whole(found.imaginary, shape))


def product(write: Writer, times: Operator, a: Any, b: Any) -> Parts:
    """Multiplies by an operator that is linear in both operands."""
    (ar, ai), (br, bi) = parts_of(a), parts_of(b)

    def of(x: Any, y: Any) -> Any:
        return None if x is None or y is None else times(x, y)

    return Parts(write.minus(of(ar, br), of(ai, bi)), write.plus(of(ar, bi), of(ai, br)))


def conjugate(write: Writer, z: Any) -> Parts:
    """Negates the imaginary part."""
    z = parts_of(z)
    return Parts(z.real, None if z.imaginary is None else write.minus(None, z.imaginary))


def square_of_length(write: Writer, z: Parts) -> Any:
    """Gives the square of the absolute value."""
    return write.plus(*(None if part is None else write.times(part, part) for part in z))


def quotient(write: Writer, a: Any, b: Any) -> Parts:
    """Divides."""
    (real, imaginary), divisor = parts_of(a), parts_of(b)
    if divisor.imaginary is not None:
        real, imaginary = product(write, write.times, a, conjugate(write, divisor))
    by = divisor.real if divisor.imaginary is None else square_of_length(write, divisor)
    return Parts(*(None if part is None else write(ATEN.div.Tensor, part, by) for part in (real, imaginary)))
