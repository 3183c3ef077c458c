"""Complex numbers as two real ones, for converters that have none or few: each node becomes its real and its imaginary part.

An operator that only moves numbers about, or adds them, is called on both parts; products are four products; a Fourier
transform of fixed length is a product with a stored matrix (`_transforms`). Whole numbers and truth values stay what they are.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from edgekit.errors import ConversionError
from edgekit.export import _parts
from edgekit.export._parts import Parts, Writer, product
from edgekit.export._transforms import TRANSFORMS
from edgekit.quant import program as programs
from edgekit.quant import proven, rules, tensors

ATEN = torch.ops.aten

_LISTS = rules.known("split.Tensor", "split_with_sizes.default", "chunk.default", "unbind.int")
#: called on both parts alike
_BOTH = {operator.getitem} | _LISTS | rules.known(
    "reshape.default", "view.default", "permute.default", "transpose.int", "t.default", "slice.Tensor", "select.int", "squeeze.default",
    "squeeze.dim", "squeeze.dims", "unsqueeze.default", "flatten.using_ints", "unflatten.int", "expand.default", "flip.default",
    "roll.default", "index_select.default", "index.Tensor", "clone.default", "contiguous.default", "alias.default", "detach.default",
    "lift_fresh_copy.default", "sum.dim_IntList", "sum.default", "mean.dim", "mean.default", "cumsum.default", "movedim.int",
    "movedim.intlist", "fft_fftshift.default", "fft_ifftshift.default", "repeat.default", "narrow.default", "neg.default", "tril.default",
    "triu.default", "cat.default", "stack.default", "slice_scatter.default", "select_scatter.default", "where.self",
    "swapaxes.default", "expand_as.default", "pad.default",
    "constant_pad_nd.default",
)  # fmt: skip
_CONJUGATES = rules.known("conj.default", "_conj.default", "conj_physical.default", "_conj_physical.default")
_SAME = rules.known("resolve_conj.default", "resolve_neg.default")
_CASTS = rules.known("to.dtype", "to.dtype_layout", "_to_copy.default")
_PRODUCTS = rules.known("matmul.default", "bmm.default", "mm.default", "linear.default")


def without_complex(program: torch.export.ExportedProgram, format_name: str) -> torch.export.ExportedProgram:
    """Returns the program in real numbers; the same program where it has no others.

    Raises:
        ConversionError: There is an operator on complex numbers that has no form in real ones here.
    """
    if not any(_is_complex(node) and node.users for node in program.graph.nodes):
        return program
    return programs.export(to_real(program.module(), format_name), program)


def to_real(graph_module: GraphModule, format_name: str) -> GraphModule:
    """Rewrites a graph in real numbers, in place, proven against the graph before it.

    Raises:
        ConversionError: There is an operator on complex numbers that has no form in real ones here.
    """
    node = unknown(graph_module)
    undone = node is None and proven.rewrite(graph_module, [complex_to_parts], proven.of_graph(graph_module))
    if node is not None or undone:
        what = f"{programs.operator_of(node)}{_from(node)}" if node is not None else "what they are used for"
        raise ConversionError(
            f"{format_name} has no complex numbers, and {what} has no form in real ones here; compute with the real and the imaginary "
            "part in the model, or choose a target of another format"
        )
    tensors.drop_unread(graph_module)
    return graph_module


def _from(node: Node) -> str:
    place = programs.origin(node)
    return f" from {place}" if place else ""


def unknown(graph_module: GraphModule) -> Node | None:
    """Returns the first operator on complex numbers that cannot be said in real ones; None where all can."""
    return next((node for node in concerned(graph_module) if not _can_be_said(node)), None)


def concerned(graph_module: GraphModule) -> list[Node]:
    """Lists what makes or reads complex numbers, in the order of the graph."""
    return [
        node
        for node in graph_module.graph.nodes
        if (node.users and _is_complex(node)) or any(map(_is_complex, node.all_input_nodes))
    ]


def complex_to_parts(graph_module: GraphModule) -> None:
    """Rewrites every operator that makes or reads complex numbers."""
    parts: dict[Node, Any] = {}
    nodes = concerned(graph_module)
    for node in nodes:
        with graph_module.graph.inserting_before(node):
            made = _said(Writer(graph_module, node), node, parts)
        if _is_complex(node):
            parts[node] = made
        else:
            node.replace_all_uses_with(made.real if isinstance(made, Parts) else made)
    for node in reversed(nodes):
        graph_module.graph.erase_node(node)


def _is_complex(node: Node) -> bool:
    values = pytree.tree_leaves(node.meta.get("val"))
    return any(isinstance(value, torch.Tensor) and value.is_complex() for value in values)


def _can_be_said(node: Node) -> bool:
    if node.op != "call_function":
        return node.op == "get_attr"
    if node.target in TRANSFORMS:
        return TRANSFORMS[node.target].fits(node)
    if node.target in rules.PADS:
        return rules.pad_value(node) in (0, None)
    if node.target is ATEN.pow.Tensor_Scalar:
        return node.args[1] in range(1, 9)
    if node.target is ATEN.einsum.default:
        return len(node.args[1]) == 2
    if node.target is ATEN.linear.default:
        return len(node.args) == 2
    return node.target in RULES or node.target in _BOTH


def _said(write: Writer, node: Node, parts: dict[Node, Any]) -> Any:
    if node.op == "get_attr":
        stored = tensors.read(write.graph_module, str(node.target))
        return Parts(write.stored(stored.real), write.stored(stored.imag))
    if node.target in TRANSFORMS:
        return TRANSFORMS[node.target].write(write, node, _value(node.args[0], parts))
    if node.target in _BOTH:
        return Parts(*(_on_one(write, node, parts, side) for side in (0, 1)))
    kwargs = {key: _value(value, parts) for key, value in node.kwargs.items()}
    return RULES[node.target](write, *(_value(arg, parts) for arg in node.args), **kwargs)


def _value(given: Any, parts: dict[Node, Any]) -> Any:
    """Returns the parts of what an operator is given, in lists as well; anything else as it is."""
    if isinstance(given, Node):
        return parts.get(given, given)
    if isinstance(given, complex):
        return Parts(given.real, given.imag)
    return [_value(item, parts) for item in given] if isinstance(given, list | tuple) else given


def _on_one(write: Writer, node: Node, parts: dict[Node, Any], side: int) -> Any:
    """Calls the operator on one part of everything; a real tensor beside complex ones has an imaginary part of zeros."""

    def part(source: Node) -> Any:
        if source in parts:
            found = parts[source][side]
            return found if source.target in _LISTS else write.whole(found, source.meta["val"].shape)
        value = source.meta["val"]
        return write.filled(value.shape) if side and value.is_floating_point() else source

    return write(node.target, *map_arg(node.args, part), **map_arg(node.kwargs, part))


# ------------------------------------------------------------------------------------------------ rules


def _called(target: Any, write: Writer, a: Any, b: Any) -> Parts:
    return product(write, partial(write, target), a, b)


def _copied(write: Writer, into: Any, value: Any) -> Parts:
    """Gives what is written over a tensor, in the shape of the tensor."""
    shape = _parts.parts_of(into).real.meta["val"].shape
    return Parts(*(write.whole(part, shape) for part in _parts.parts_of(value)))


def _einsum(write: Writer, equation: str, operands: Sequence[Any], **_: Any) -> Parts:
    return product(write, lambda a, b: write(ATEN.einsum.default, equation, [a, b]), *operands)


def _pairs(write: Writer, z: Parts) -> Node:
    return write(ATEN.stack.default, [z.real, write.imaginary(z)], -1)


def _of_pairs(write: Writer, pairs: Node) -> Parts:
    return Parts(*(write(ATEN.select.int, pairs, -1, side) for side in (0, 1)))


def _polar(write: Writer, length: Node, angle: Node) -> Parts:
    waves = (write(wave, angle) for wave in (ATEN.cos.default, ATEN.sin.default))
    return Parts(*(write.times(length, wave) for wave in waves))


def _filled(write: Writer, z: Parts, mask: Node, number: Any) -> Parts:
    numbers = (number.real, number.imaginary) if isinstance(number, Parts) else (number, 0.0)
    shape = z.real.meta["val"].shape
    return Parts(
        *(
            write(ATEN.masked_fill.Scalar, write.whole(p, shape), mask, n)
            for p, n in zip(z, numbers, strict=True)
        )
    )


def _power(write: Writer, z: Parts, exponent: Any) -> Parts:
    found = z
    for _ in range(int(exponent) - 1):
        found = product(write, write.times, found, z)
    return found


RULES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(_SAME, lambda write, z: z),
    **dict.fromkeys(_CONJUGATES, _parts.conjugate),
    **dict.fromkeys(_CASTS, lambda write, value, *_, **__: _parts.parts_of(value)),
    **{target: partial(_called, target) for target in _PRODUCTS},
    ATEN.add.Tensor: _parts.added,
    ATEN.sub.Tensor: _parts.subtracted,
    ATEN.rsub.Scalar: lambda write, a, b: _parts.subtracted(write, b, a),
    ATEN.mul.Tensor: lambda write, a, b: product(write, write.times, a, b),
    ATEN.copy.default: _copied,
    ATEN.div.Tensor: _parts.quotient,
    ATEN.einsum.default: _einsum,
    ATEN.pow.Tensor_Scalar: _power,
    ATEN.square.default: partial(_power, exponent=2),
    ATEN.abs.default: lambda write, z: write(ATEN.sqrt.default, _parts.square_of_length(write, z)),
    ATEN.angle.default: lambda write, z: write(ATEN.atan2.default, write.imaginary(z), z.real),
    ATEN.masked_fill.Scalar: _filled,
    ATEN.where.ScalarOther: lambda write, where, z, number: _filled(
        write, z, write(ATEN.logical_not.default, where), number
    ),
    ATEN.real.default: lambda write, z: z.real,
    ATEN.imag.default: lambda write, z: write.imaginary(z),
    ATEN.view_as_real.default: _pairs,
    ATEN.view_as_complex.default: _of_pairs,
    ATEN.complex.default: lambda write, real, imaginary: Parts(real, imaginary),
    ATEN.polar.default: _polar,
    ATEN.exp.default: lambda write, z: _polar(write, write(ATEN.exp.default, z.real), write.imaginary(z)),
}
