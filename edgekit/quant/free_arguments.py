"""Which numbers in a program follow its free axes: they are written down of one program and found again in another.

Every technique works on a program of fixed shapes, in which torch.export has written the lengths of the example inputs into the
arguments of operators: `view(x, [1, 128, 4, 16])`. So the user's model is exported once more with its axes free, and what stands
there is written down (`written_down`): `[batch, length, 4, 16]`. The operators of a finished candidate are matched with those by
their kind, order and numbers (`matched`).
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from edgekit.errors import ConversionError
from edgekit.quant.constants import FREE
from edgekit.quant.size_texts import evaluated, size_text
from edgekit.records import FreeArgument, FreeAxes

SHAPE = "shape"  # the place of what an operator takes from another tensor by itself


def written_down(program: ExportedProgram, free: FreeAxes) -> tuple[FreeArgument, ...]:
    """Lists the operators of a program with free axes that take numbers, with what these are of the axes."""
    symbols = _symbols(program, free)
    lengths = {axis.name: axis.example for axis in free.axes}
    return tuple(_argument(node, symbols, lengths) for node in _shaped(program.graph_module))


def outputs_of(program: ExportedProgram, free: FreeAxes) -> tuple[dict[str, str], ...]:
    """Returns the axes of each output that follow a free one, and how: "length", "length//2"."""
    symbols = _symbols(program, free)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    return tuple(
        {
            str(i): size_text(size.node.expr, symbols)
            for i, size in enumerate(values[str(name)].shape)
            if isinstance(size, torch.SymInt) and size.node.expr.free_symbols
        }
        for name in program.graph_signature.user_outputs
    )


def mark(graph_module: GraphModule, arguments: Sequence[FreeArgument]) -> None:
    """Marks the operators that make a tensor of a free length, so that none is computed once and stored."""
    for node, argument in matched(graph_module, arguments):
        if argument.free:
            node.meta[FREE] = True


def matched(module: GraphModule, arguments: Sequence[FreeArgument]) -> list[tuple[Node, FreeArgument]]:
    """Pairs operators with those that were written down: of one kind, in one order, with the same numbers."""
    nodes = [(node, _argument(node, {}, {})) for node in _shaped(module)]
    found = []
    for kind in {a.target for a in arguments if a.free}:
        mine = [(node, a) for node, a in nodes if a.target == kind]
        theirs = [a for a in arguments if a.target == kind]
        keys = [a.fixed for _, a in mine], [a.fixed for a in theirs]
        for block in difflib.SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks():
            for i in range(block.size):
                found.append((mine[block.a + i][0], theirs[block.b + i]))
    return found


def _symbols(program: ExportedProgram, free: FreeAxes) -> dict[Any, str]:
    """Maps the symbols of torch's own shapes to the names of axes."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    found: dict[Any, str] = {}
    for name, axes in zip(program.graph_signature.user_inputs, free.inputs, strict=True):
        shape = values[str(name)].shape
        for number, axis in axes.items():
            size = shape[int(number)]
            if not isinstance(size, torch.SymInt):
                raise ConversionError(f"the model fixes the axis {axis} at {int(size)}")
            found[size.node.expr] = axis
    return found


def _shaped(graph_module: GraphModule) -> Iterator[Node]:
    """Yields the operators that take numbers, symbolic or not, or make a constant in the shape of another tensor."""
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            name = str(node.target)
            if name.startswith(("aten.sym_", "aten._assert", "quantized_decomposed")):
                continue
            if _is_like(node) or any(_numbers(node)):
                yield node


def _is_like(node: Node) -> bool:
    name = str(node.target).split(".")[1]
    return name.endswith("_like") or name.startswith("new_")


def _numbers(node: Node) -> Iterator[tuple[str, Any]]:
    """Yields the places and values of numbers among the arguments of an operator."""
    named = [*enumerate(node.args), *node.kwargs.items()]
    for key, value in named:
        parts = enumerate(value) if isinstance(value, list | tuple) else [("", value)]
        for index, part in parts:
            if _is_number(part):
                yield f"{key}.{index}".removesuffix("."), part


def _is_number(value: Any) -> bool:
    symbolic = isinstance(value, Node) and isinstance(value.meta.get("val"), torch.SymInt)
    return symbolic or (isinstance(value, int | torch.SymInt) and not isinstance(value, bool))


def _argument(node: Node, symbols: dict[Any, str], lengths: dict[str, int]) -> FreeArgument:
    fixed, free = list[str](), dict[str, str]()
    if _is_like(node):
        symbolic = any(isinstance(size, torch.SymInt) for size in node.meta["val"].shape)
        return FreeArgument(target=str(node.target), fixed="", free={SHAPE: "by itself"} if symbolic else {})
    for place, value in _numbers(node):
        value = value.meta["val"] if isinstance(value, Node) else value
        if isinstance(value, torch.SymInt) and value.node.expr.free_symbols:
            text = size_text(value.node.expr, symbols)
            free[place] = text
            value = evaluated(text, lengths)
        fixed.append(f"{place}={int(value)}")
    return FreeArgument(target=str(node.target), fixed=" ".join(fixed), free=free)
