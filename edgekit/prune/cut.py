"""Prunes to given widths by removing the least important channels, and checks the result.

The result is checked against the original network: a network without some channels computes what the whole
network computes when these channels are set to zero wherever they are read. Where an index went wrong (a
shuffle, a padding of channels, a reshape that nobody modelled) the shapes may still fit, but the outputs
differ. Norms over channels, as in transformers, notice that channels are missing; there only shapes are
compared.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.utils import _pytree as pytree

from edgekit.errors import ConversionError, UserError
from edgekit.prune.graph import Graph
from edgekit.prune.groups import Group, Part, is_depthwise
from edgekit.prune.width_attributes import follow
from edgekit.prune.widths import Scores
from edgekit.quant.proven import sample_of

CLOSE = 1e-3  # relative to the largest output; summing in another order causes a hundredth of this
_OVER_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.MultiheadAttention)


def cut(graph: Graph, widths: Mapping[str, int], scores: Scores) -> dict[str, list[int]]:
    """Prunes `graph.module` in place, exactly to the given widths. `graph` cannot be used again afterwards.

    Args:
        graph: The groups of channels and the module they belong to.
        widths: Channels to keep, by root of the group.
        scores: The importance of each channel, [width], for every root in `widths`.

    Returns:
        The channels that stay, by root.

    Raises:
        UserError: A group cannot have the width asked for.
        ConversionError: The pruned module does not run, or computes something else.
    """
    gone = {root: least(_group(graph, root), width, scores[root]) for root, width in widths.items()}
    gone = {root: channels for root, channels in gone.items() if channels}
    expected = _expected(graph, gone)
    try:
        for root, channels in gone.items():
            graph.remove(root, channels)
        answers = _answers(
            graph, {r: (graph.groups[r].width, graph.groups[r].width - len(c)) for r, c in gone.items()}
        )
    except Exception as error:
        raise ConversionError(_failed(graph, f"{type(error).__name__}: {error}")) from error
    _compare(graph, expected, answers)
    return {
        root: sorted(set(range(graph.groups[root].width)) - set(channels)) for root, channels in gone.items()
    }


@torch.no_grad()
def _answers(graph: Graph, widths: Mapping[str, tuple[int, int]]) -> object:
    """The outputs of the pruned module, whose width attributes are updated if it does not run otherwise."""
    try:
        return graph.module(*sample_of(graph.examples))
    except Exception:
        if not follow(graph.module, widths):
            raise
        return graph.module(*sample_of(graph.examples))


def least(group: Group, width: int, scores: torch.Tensor) -> list[int]:
    """Returns the channels to remove: the least important of each block, the same ones in every block.

    Args:
        group: The group that is narrowed.
        width: Channels to keep.
        scores: The importance of each channel, [group.width].

    Raises:
        UserError: The group cannot have that width.
    """
    least = group.blocks * group.run
    if not 0 < width <= group.width or width % least:
        multiples = f", in multiples of {least}" if least > 1 else ""
        raise UserError(f"{group.root} cannot keep {width} channels; it has {group.width}{multiples}")
    channels = torch.arange(group.width).reshape(group.blocks, -1, group.run)
    order = scores.reshape(channels.shape).mean((0, 2)).argsort(stable=True)
    gone = order[: (group.width - width) // least]
    return sorted(channels[:, gone].flatten().tolist())


def _group(graph: Graph, root: str) -> Group:
    if root not in graph.groups:
        raise UserError(f"no group {root!r}; there are {', '.join(graph.groups) or 'none'}")
    return graph.groups[root]


def _expected(graph: Graph, gone: Mapping[str, Sequence[int]]) -> tuple[object, bool]:
    """The outputs with these channels set to zero, and whether the pruned module must match them exactly."""
    masked, exact = copy.deepcopy(graph.module), True
    for root, channels in gone.items():
        for part in graph.parts(root, channels):
            layer = masked.get_submodule(part.layer)
            exact = exact and not isinstance(layer, _OVER_CHANNELS)
            if part.side == "in":
                _forget(layer, part)
    with torch.no_grad():
        return masked(*sample_of(graph.examples)), exact


def _forget(layer: nn.Module, part: Part) -> None:
    """Makes the layer ignore these inputs."""
    if not isinstance(layer, nn.modules.conv._ConvNd | nn.Linear) or is_depthwise(layer):
        return
    weight, indices = layer.weight.data, torch.tensor(part.indices)
    if isinstance(layer, nn.Linear) or not layer.transposed:
        weight[:, indices % weight.shape[1]] = 0
    else:
        weight[indices] = 0


def _compare(graph: Graph, expected: tuple[object, bool], answers: object) -> None:
    wanted, exact = expected
    for want, got in zip(pytree.tree_leaves(wanted), pytree.tree_leaves(answers), strict=True):
        if want.shape != got.shape:
            raise ConversionError(
                _failed(graph, f"it answers {list(got.shape)} instead of {list(want.shape)}")
            )
        if exact and not torch.allclose(want, got, rtol=0, atol=CLOSE * float(want.abs().max())):
            raise ConversionError(_failed(graph, "it answers something else than with these channels zero"))


def _failed(graph: Graph, reason: str) -> str:
    return f"{type(graph.module).__name__} does not work without some of its channels: {reason}"
