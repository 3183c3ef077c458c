"""A program of fixed shapes becomes one whose batch or length is chosen with every call.

The lengths that `edgekit.quant.free_arguments` wrote down of the user's model are put back into the operators of a finished
candidate when it is lowered (`freed`). torch.export then proves that no shape is fixed any more; that the answers are right, the
verify stage proves at the shortest, the longest and two lengths between.

Cost: one more torch.export a model, and one a file.
"""

import ast
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from edgekit.errors import ConversionError
from edgekit.quant import batching, constants, first_states, plain_forms, proven
from edgekit.quant.free_arguments import SHAPE, matched
from edgekit.quant.free_axes import dims_of, fixed_sentence, stretched, tracing_lengths
from edgekit.quant.program import export
from edgekit.quant.size_texts import computed, identifier
from edgekit.records import FreeAxes

log = logging.getLogger("edgekit")

_SIZED = (torch.ops.aten.view.default, torch.ops.aten.reshape.default, torch.ops.aten.expand.default)


def freed(program: ExportedProgram, free: FreeAxes) -> ExportedProgram:
    """Returns the program with its axes free.

    Raises:
        ConversionError: An operator fixes a length.
    """
    module = batching.copied(program.module())
    like = proven.of_graph(module).sample  # which it takes, whatever its whole numbers are
    sizes = _size_nodes(module, free)
    pairs = matched(module, free.arguments)
    for node, argument in pairs:
        for place, text in argument.free.items():
            if place != SHAPE:
                _put(module, node, place, text, sizes)
    _batch_of_the_rest(module, {id(node) for node, _ in pairs}, free, sizes)
    module.recompile()
    examples = stretched(like, free, tracing_lengths(free))
    try:
        found = torch.export.export(module, examples, dynamic_shapes=dims_of(free), strict=False)
        first_states.check(found)
        with (
            torch.no_grad()
        ):  # a state of zeros that was stored for one sample passes the tracing, not the run
            found.module()(*examples)
        return found
    except ConversionError:
        raise
    except Exception as error:  # torch raises many kinds: constraints, guards, shapes
        log.info("axes stay fixed: %s", error)
        raise ConversionError(fixed_sentence(error, free)) from error


def settled(program: ExportedProgram) -> ExportedProgram:
    """Returns the program with what was left free stored as it is for the lengths of the example: for a file that fixes them."""
    if not any(_makes(node) for node in program.graph.nodes):
        return program
    module = batching.copied(program.module())
    plain_forms.filled_to_full(module)
    constants.fold_constants(module)
    return export(module, program)


def _makes(node: Node) -> bool:
    """Whether it makes a tensor out of numbers, or in the shape of another one."""
    return node.op == "call_function" and (not node.all_input_nodes or node.target in plain_forms.FILLED)


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
    return {identifier(name): node for name, node in found.items()}


def _put(module: GraphModule, node: Node, place: str, text: str, sizes: Mapping[str, Node]) -> None:
    """Writes a size of the axes in the place of a number."""
    key, _, index = place.partition(".")
    with module.graph.inserting_before(node):
        size = computed(
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


def _batch_of_the_rest(
    module: GraphModule, done: set[int], free: FreeAxes, sizes: Mapping[str, Node]
) -> None:
    """Frees the samples in shapes that a technique wrote: `view(x, [1, ...])` of an x of one sample."""
    first = {axes.get("0") for axes in free.inputs} - {None}
    if len(first) != 1:
        return
    batch = sizes[identifier(str(first.pop()))]
    for node in module.graph.nodes:
        if node.target in _SIZED and id(node) not in done:
            source, shape = node.args[0].meta.get("val"), list(node.args[1])
            if source is not None and source.dim() and source.shape[0] == 1 and shape[:1] == [1]:
                shape[0] = batch
                node.args = (node.args[0], shape)
