"""What a network computes: its multiply-accumulates, counted from the exported program, by kind.

The kind decides which integers pay. Convolutions want ranges fixed in advance: found at run time they cost more than they
save (`edgekit.techniques.dynamic`). Recurrent cells stay one float operator under pt2e, so that only a runtime's own quantizer
reaches them. Linear layers take either.

    convolution   output elements x weight elements of one output channel; transposed: input elements x those of one input
    linear        output elements x inputs, where one operand is a stored tensor; einsum: all its indices
    recurrent     steps x weight elements, both directions and all layers
    attention     products of two activations: scaled_dot_product_attention, and matmul without a stored operand

Cost: one walk over the graph. Not counted: what only adds, moves or compares.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import get_args

from torch.export import ExportedProgram
from torch.fx import Node

from edgekit.quant.program import calls, origin
from edgekit.records import Kind, LayerCost, Macs

#: what passes a stored tensor on: a matmul of it is linear
_MOVES = (
    "transpose",
    "t",
    "permute",
    "view",
    "reshape",
    "unsqueeze",
    "squeeze",
    "expand",
    "contiguous",
    "clone",
)


def count(program: ExportedProgram) -> Macs:
    """Counts the multiply-accumulates of one run of the program."""
    sums: dict[Kind, int] = dict.fromkeys(get_args(Kind), 0)
    for _, kind, macs in counted(program):
        sums[kind] += macs
    total = sum(sums.values())
    return Macs(count=total, **{kind: value / total for kind, value in sums.items() if value})


def counted(program: ExportedProgram) -> Iterator[tuple[Node, Kind, int]]:
    """Yields every node that multiplies and adds, with its kind and its count, in the order of the graph."""
    signature = program.graph_signature
    stored = {*signature.inputs_to_parameters, *signature.inputs_to_buffers}
    for node in calls(program.graph_module):
        counter = _COUNTERS.get(operator(node))
        if counter is not None:
            yield node, *counter(node, stored)


def layers(program: ExportedProgram) -> tuple[LayerCost, ...]:
    """Returns every layer with its work and the numbers that it stores, each stored tensor counted where it is read first."""
    signature = program.graph_signature
    stored = {*signature.inputs_to_parameters, *signature.inputs_to_buffers}
    taken: set[Node] = set()
    found = []
    for node, _, macs in counted(program):
        sources = (_source(value, stored) for value in node.all_input_nodes)
        own = {source for source in sources if source is not None} - taken
        taken |= own
        weights = sum(prod(_shape(source)) for source in own)
        found.append(LayerCost(name=node.name, origin=origin(node) or node.name, macs=macs, weights=weights))
    return tuple(found)


def operator(node: Node) -> str:
    """Returns the bare name of a node's operator: `conv2d` for aten.conv2d.default."""
    parts = str(node.target).split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "aten" else ""


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(int(n) for n in node.meta["val"].shape)


def _convolution(node: Node, stored: set[str]) -> tuple[Kind, int]:
    return "convolution", prod(_shape(node)) * prod(_shape(node.args[1])[1:])


def _transposed(node: Node, stored: set[str]) -> tuple[Kind, int]:
    return "convolution", prod(_shape(node.args[0])) * prod(_shape(node.args[1])[1:])


def _product(node: Node, stored: set[str]) -> tuple[Kind, int]:
    """Counts linear, matmul and their kin; addmm and baddbmm have the bias first."""
    first = 1 if operator(node) in ("addmm", "baddbmm", "addmv") else 0
    left, right = node.args[first], node.args[first + 1]
    kind: Kind = "linear" if _is_stored(left, stored) or _is_stored(right, stored) else "attention"
    return kind, prod(_shape(node)) * _shape(left)[-1]


def _einsum(node: Node, stored: set[str]) -> tuple[Kind, int]:
    """Multiplies the sizes of all indices of the equation; an ellipsis stands for the dimensions without a letter."""
    operands = node.args[1]
    kind: Kind = "linear" if any(_is_stored(operand, stored) for operand in operands) else "attention"
    sizes: dict[str, int] = {}
    for indices, operand in zip(
        str(node.args[0]).replace(" ", "").split("->")[0].split(","), operands, strict=True
    ):
        shape, (before, dots, after) = _shape(operand), indices.partition("...")
        rest = shape[len(before) : len(shape) - len(after)] if dots else ()
        named = {
            **dict(zip(before, shape, strict=False)),
            **dict(zip(reversed(after), reversed(shape), strict=False)),
        }
        sizes |= named | {f"...{len(rest) - i}": n for i, n in enumerate(rest)}
    return kind, prod(sizes.values())


def _attention(node: Node, stored: set[str]) -> tuple[Kind, int]:
    query, key, value = (_shape(operand) for operand in node.args[:3])
    return "attention", prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _recurrent(node: Node, stored: set[str]) -> tuple[Kind, int]:
    """Counts lstm.input(input, states, weights, ...): each weight matrix once for every step of every sample."""
    return "recurrent", prod(_shape(node.args[0])[:-1]) * _matrices(node.args[2])


def _cell(node: Node, stored: set[str]) -> tuple[Kind, int]:
    """Counts lstm_cell(input, state, w_ih, w_hh, ...)."""
    return "recurrent", prod(_shape(node.args[0])[:-1]) * _matrices(node.args[2:4])


def _matrices(weights: object) -> int:
    shapes = [_shape(weight) for weight in weights]  # type: ignore[attr-defined]
    return sum(prod(shape) for shape in shapes if len(shape) == 2)


def _is_stored(value: object, stored: set[str]) -> bool:
    return _source(value, stored) is not None


def _source(value: object, stored: set[str]) -> Node | None:
    """Returns the stored tensor that a value is, moved or not; None where it is computed."""
    while isinstance(value, Node) and value.op == "call_function" and operator(value) in _MOVES:
        value = value.args[0]
    is_stored = isinstance(value, Node) and (value.op == "get_attr" or value.name in stored)
    return value if is_stored else None  # type: ignore[return-value]


_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution")
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_PRODUCTS = ("linear", "matmul", "mm", "bmm", "mv", "addmm", "baddbmm", "addmv")
_COUNTERS: dict[str, Callable[[Node, set[str]], tuple[Kind, int]]] = {
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    **dict.fromkeys(_TRANSPOSED, _transposed),
    **dict.fromkeys(_PRODUCTS, _product),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _cell),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
}
