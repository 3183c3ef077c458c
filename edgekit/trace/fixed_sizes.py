"""Models whose answer is as long as values say: nms, nonzero, a mask as an index. An artifact has outputs of fixed sizes."""

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from edgekit.errors import ConversionError
from edgekit.quant.program import calls, operator_of, origin


def check(program: torch.export.ExportedProgram) -> None:
    """Checks the outputs of a program that was exported with fixed inputs; inside, sizes may follow values.

    Raises:
        ConversionError: An output is as long as values say.
    """
    names = set(map(str, program.graph_signature.user_outputs))
    if not any(node.name in names and _follows_values(node) for node in program.graph.nodes):
        return
    maker = next(node for node in calls(program.graph_module) if _follows_values(node))
    place = origin(maker)
    raise ConversionError(
        f"what the model returns is as long as values say, because of {operator_of(maker)}{f' from {place}' if place else ''}, and an "
        "artifact has outputs of fixed sizes; return what is given to it (of nms: boxes and scores) and choose in the app, or take a "
        "fixed number with topk"
    )


def _follows_values(node: Node) -> bool:
    values = [v for v in pytree.tree_leaves(node.meta.get("val")) if isinstance(v, torch.Tensor)]
    return any(isinstance(size, torch.SymInt) for value in values for size in value.shape)
