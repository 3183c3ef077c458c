"""Free axes: a program of fixed shapes becomes one whose batch or length is chosen with every call.

Every technique works on a program of fixed shapes, in which torch.export has written the lengths of the example inputs into the
arguments of operators: `view(x, [1, 128, 4, 16])`. So the user's model is exported once more with its axes free, and what stands
there is written down (`written_down`): `[batch, length, 4, 16]`. When a finished candidate is lowered, its own operators are
matched with those by their kind, order and numbers, and the lengths are put back (`freed`). torch.export then proves that
no shape is fixed any more; that the answers are right, the verify stage proves at the shortest, the longest and two lengths between.

Cost: one more torch.export a model, and one a file.
"""

import ast
import difflib
import logging
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import torch
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule, Node

from edgekit.errors import ConversionError
from edgekit.quant import batching
from edgekit.quant.constants import FREE
from edgekit.quant.program import origin
from edgekit.records import FreeArgument, FreeAxes, TensorSpec

log = logging.getLogger("edgekit")

SHAPE = "shape"  # the place of what an operator takes from another tensor by itself
MOST = 1 << 20  # of an axis without a limit of its own, as torch wants one
_NAMED = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


# ------------------------------------------------------------------------------------------------ shapes


def dims_of(free: FreeAxes) -> tuple[dict[int, Any] | None, ...]:
    """Returns the axes of each input as torch.export takes them."""
    made = {axis.name: Dim(_plain(axis.name), min=axis.least, max=axis.most or MOST) for axis in free.axes}
    return tuple({int(i): made[name] for i, name in axes.items()} or None for axes in free.inputs)


def _plain(name: str) -> str:
    return name if name.isidentifier() else "axis_" + "".join(c if c.isalnum() else "_" for c in name)


def stretched(
    tensors: Sequence[torch.Tensor], free: FreeAxes, lengths: Mapping[str, int]
) -> tuple[torch.Tensor, ...]:
    """Repeats and cuts inputs until their free axes have these lengths."""
    found = []
    for tensor, axes in zip(tensors, free.inputs, strict=True):
        for number, name in axes.items():
            axis, wanted = int(number), lengths[name]
            index = torch.arange(wanted) % tensor.shape[axis]
            tensor = tensor.index_select(axis, index)
        found.append(tensor.contiguous())
    return tuple(found)


def tracing_lengths(free: FreeAxes) -> dict[str, int]:
    """Returns lengths that torch takes for free ones: it takes 0 and 1 for constants."""
    return {axis.name: min(max(2, axis.example), axis.most or MOST) for axis in free.axes}


# ------------------------------------------------------------------------------------------------ writing down


def written_down(program: ExportedProgram, free: FreeAxes) -> tuple[FreeArgument, ...]:
    """Lists the operators of a program with free axes that take numbers, with what these are of the axes."""
    symbols = _symbols(program, free)
    lengths = {axis.name: axis.example for axis in free.axes}
    return tuple(_argument(node, symbols, lengths) for node in _shaped(program.graph_module))


def named(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], free: FreeAxes | None
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Returns the descriptions of inputs and outputs with their free axes."""
    if free is None:
        return inputs, outputs
    sides = (inputs, free.inputs), (outputs, free.outputs)
    found = [
        tuple(msgspec.structs.replace(s, free=axes) for s, axes in zip(specs, places, strict=True))
        for specs, places in sides
    ]
    return found[0], found[1]


def outputs_of(program: ExportedProgram, free: FreeAxes) -> tuple[dict[str, str], ...]:
    """Returns the axes of each output that follow a free one, and how: "length", "length//2"."""
    symbols = _symbols(program, free)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    return tuple(
        {
            str(i): _python(size.node.expr, symbols)
            for i, size in enumerate(values[str(name)].shape)
            if isinstance(size, torch.SymInt) and size.node.expr.free_symbols
        }
        for name in program.graph_signature.user_outputs
    )


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
            text = _python(value.node.expr, symbols)
            free[place] = text
            value = _evaluated(text, lengths)
        fixed.append(f"{place}={int(value)}")
    return FreeArgument(target=str(node.target), fixed=" ".join(fixed), free=free)


def _python(expression: Any, symbols: dict[Any, str]) -> str:
    """Writes a size as Python does, in the names of axes."""
    from torch.utils._sympy.printers import PythonPrinter

    known = symbols
    unknown = [s for s in expression.free_symbols if s not in known]
    if unknown:
        raise ConversionError("a size in the model depends on its values, not on its free axes alone")
    import sympy

    text = PythonPrinter().doprint(
        expression.xreplace(
            {s: sympy.Symbol(_plain(n), integer=True, positive=True) for s, n in known.items()}
        )
    )
    return str(text)


def _evaluated(text: str, lengths: Mapping[str, int]) -> int:
    values = {_plain(name): length for name, length in lengths.items()}
    return int(_computed(ast.parse(text, mode="eval").body, values, lambda function, a, b: function(a, b)))


def _computed(tree: ast.AST, names: Mapping[str, Any], combine: Callable[..., Any]) -> Any:
    """Computes an expression of names and whole numbers.

    Raises:
        ConversionError: It holds anything else than sums, differences, products, quotients and remainders.
    """
    if isinstance(tree, ast.Constant):
        return tree.value
    if isinstance(tree, ast.Name):
        return names[tree.id]
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return combine(operator.mul, -1, _computed(tree.operand, names, combine))
    if isinstance(tree, ast.BinOp) and type(tree.op) in _NAMED:
        left, right = (_computed(side, names, combine) for side in (tree.left, tree.right))
        return combine(_NAMED[type(tree.op)], left, right)
    raise ConversionError(
        f"a size of the model is {ast.unparse(tree)}, which edgekit cannot write into a file"
    )


def mark(graph_module: GraphModule, arguments: Sequence[FreeArgument]) -> None:
    """Marks the operators that make a tensor of a free length, so that none is computed once and stored."""
    for node, argument in _matched(graph_module, arguments):
        if argument.free:
            node.meta[FREE] = True


# ------------------------------------------------------------------------------------------------ putting back


def freed(program: ExportedProgram, free: FreeAxes) -> ExportedProgram:
    """Returns the program with its axes free.

    Raises:
        ConversionError: An operator fixes a length.
    """
    module = batching.copied(program.module())
    like = _inputs(module)
    sizes = _size_nodes(module, free)
    matched = _matched(module, free.arguments)
    for node, argument in matched:
        for place, text in argument.free.items():
            if place != SHAPE:
                _put(module, node, place, text, sizes)
    _batch_of_the_rest(module, {id(node) for node, _ in matched}, free, sizes)
    _check_states(module)
    module.recompile()
    examples = stretched(like, free, tracing_lengths(free))
    try:
        found = torch.export.export(module, examples, dynamic_shapes=dims_of(free), strict=False)
        with (
            torch.no_grad()
        ):  # a state of zeros that was stored for one sample passes the tracing, not the run
            found.module()(*examples)
        return found
    except Exception as error:  # torch raises many kinds: constraints, guards, shapes
        log.info("axes stay fixed: %s", error)
        raise ConversionError(fixed_sentence(error, free)) from error


_STATEFUL = ("aten.lstm", "aten.gru", "aten.rnn")


def _check_states(module: GraphModule) -> None:
    """Checks the first states of recurrent layers: with one of a single sample beside several, torch's kernels write beside memory.

    Raises:
        ConversionError: A state of zeros was stored for one sample.
    """
    moving = set[Node]()
    for node in module.graph.nodes:
        if node.op == "placeholder" or any(source in moving for source in node.all_input_nodes):
            moving.add(node)
        if not str(node.target).startswith(_STATEFUL):
            continue
        states = node.args[1] if isinstance(node.args[1], list | tuple) else [node.args[1]]
        if node.args[0] in moving and any(state not in moving for state in states):
            raise ConversionError(
                f"the first state of {origin(node) or 'a recurrent layer'} is stored for one sample; name the axis in "
                "Task(dynamic=...), so that it is made anew for each number of samples"
            )


def fixed_sentence(error: Exception, free: FreeAxes) -> str:
    """Says which axis torch found fixed, or limited."""
    text = " ".join(str(error).split())
    limited = re.search(r"(\w+) = Dim\('\w+', ([^)]*)\)", text)
    if limited:
        return f'the axis {limited[1]} has limits in the model: ek.Dim("{limited[1]}", {limited[2]}) has them'
    constant = re.search(
        r"marked (\w+) as dynamic but your code specialized it to be a constant \((\d+)\)", text
    )
    if constant:
        return f"the axis {constant[1]} cannot be free: the model fixes it at {constant[2]}"
    names = [axis.name for axis in free.axes if _plain(axis.name) in text] or [a.name for a in free.axes]
    return f"the axis {', '.join(names)} cannot be free: {text[:300]}"


def _inputs(module: GraphModule) -> tuple[torch.Tensor, ...]:
    values = [node.meta["val"] for node in module.graph.nodes if node.op == "placeholder"]
    return tuple(torch.zeros([int(d) for d in v.shape], dtype=v.dtype) for v in values)


def _size_nodes(module: GraphModule, free: FreeAxes) -> dict[str, Node]:
    """Adds one node an axis, which tells its length."""
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    last, found = inputs[-1], dict[str, Node]()
    for node, axes in zip(inputs, free.inputs, strict=True):
        for number, name in axes.items():
            if name not in found:
                with module.graph.inserting_after(last):
                    size = module.graph.call_function(torch.ops.aten.sym_size.int, (node, int(number)))
                found[name] = last = size
    return {_plain(name): node for name, node in found.items()}


def _matched(module: GraphModule, arguments: Sequence[FreeArgument]) -> list[tuple[Node, FreeArgument]]:
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


def _put(module: GraphModule, node: Node, place: str, text: str, sizes: Mapping[str, Node]) -> None:
    """Writes a size of the axes in the place of a number."""
    key, _, index = place.partition(".")
    with module.graph.inserting_before(node):
        size = _computed(
            ast.parse(text, mode="eval").body,
            sizes,
            lambda function, a, b: module.graph.call_function(function, (a, b)),
        )
    args, kwargs = list(node.args), dict(node.kwargs)
    holder: Any = args if key.isdigit() else kwargs
    at: Any = int(key) if key.isdigit() else key
    if index:
        values = list(holder[at])
        values[int(index)] = size
        holder[at] = values
    else:
        holder[at] = size
    node.args, node.kwargs = tuple(args), kwargs


_SIZED = (torch.ops.aten.view.default, torch.ops.aten.reshape.default, torch.ops.aten.expand.default)


def _batch_of_the_rest(
    module: GraphModule, done: set[int], free: FreeAxes, sizes: Mapping[str, Node]
) -> None:
    """Frees the samples in shapes that a technique wrote: `view(x, [1, ...])` of an x of one sample."""
    first = {axes.get("0") for axes in free.inputs} - {None}
    if len(first) != 1:
        return
    batch = sizes[_plain(str(first.pop()))]
    for node in module.graph.nodes:
        if node.target in _SIZED and id(node) not in done:
            source, shape = node.args[0].meta.get("val"), list(node.args[1])
            if source is not None and source.dim() and source.shape[0] == 1 and shape[:1] == [1]:
                shape[0] = batch
                node.args = (node.args[0], shape)
