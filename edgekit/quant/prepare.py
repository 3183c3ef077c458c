"""What every target profits from, done once, when the model is traced, before any quantizer sees it.

Each pass rewrites the graph in place and keeps its function: the outputs are equal, number by number, up to the
order in which a convolution adds its products. Batch norms stay: training with fake quantization needs them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.errors import TaskError
from edgekit.quant import plain_forms, proven, rules, unwrapped
from edgekit.quant.constants import fold_constants
from edgekit.quant.functional import functionalize
from edgekit.quant.program import calls, origin
from edgekit.quant.rewriting import call, shaped
from edgekit.quant.rules import is_zero_pad
from edgekit.quant.single_precision import to_single

ATEN = torch.ops.aten

_CONV_RANK = {ATEN.conv1d.default: 1, ATEN.conv2d.default: 2, ATEN.conv3d.default: 3}
_STRING_PADDING = {
    ATEN.conv1d.padding: ATEN.conv1d.default,
    ATEN.conv2d.padding: ATEN.conv2d.default,
    ATEN.conv3d.padding: ATEN.conv3d.default,
}


def prepare_graph(graph_module: GraphModule) -> GraphModule:
    """Runs `prepared` with the answers of the graph as it is.

    Returns:
        The same graph, rewritten in place.
    """
    prepared(graph_module, proven.of_graph(graph_module))
    return graph_module


def prepared(graph_module: GraphModule, before: proven.Reference) -> tuple[str, ...]:
    """Runs every pass of PASSES, in order, in place.

    Args:
        graph_module: The graph of an exported program's `module()`.
        before: The answers that the graph must keep.

    Returns:
        A sentence for each pass that would have changed what the graph computes, and was undone.
    """
    return proven.rewrite(graph_module, PASSES, before)


def check_norms(graph_module: GraphModule) -> None:
    """Checks that no batch norm uses the statistics of its batch.

    Raises:
        TaskError: forward runs a batch norm as in training, so that each sample's answer depends on its whole batch.
    """
    for node in calls(graph_module):
        mean = node.args[3] if node.target in rules.NORM and node.args[5] else None
        if isinstance(mean, Node):
            raise TaskError(
                f"forward writes the buffer `{mean.target}`: {origin(node) or 'a batch norm'} runs as in training there, and answers "
                "from the statistics of the batch that it is given. An artifact keeps nothing between calls: leave out what turns "
                "training on (train(), F.batch_norm(training=True)), so that eval() holds"
            )


def explicit_padding(graph_module: GraphModule) -> None:
    """Turns `padding="valid"` and `padding="same"` into numbers, so that later passes know one form.

    Where the halves of "same" differ, the smaller one goes into the convolution and the rest into a pad before it.
    """
    for node in list(graph_module.graph.nodes):
        if node.target not in _STRING_PADDING:
            continue
        full = [*node.args, *[None, 1, "valid", 1, 1][len(node.args) - 2 :]]
        kernel = node.args[1].meta["val"].shape[2:]
        dilation = _spread(full[5], len(kernel))
        total = [d * (k - 1) if full[4] == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        if any(t % 2 for t in total):
            full[0] = _pad_end(graph_module, node, [t % 2 for t in total])
        full[4] = [t // 2 for t in total]
        full[3] = _spread(full[3], len(kernel))
        full[5] = dilation
        node.target, node.args = _STRING_PADDING[node.target], tuple(full)


def _pad_end(graph_module: GraphModule, conv: Node, more: list[int]) -> Node:
    """Pads the input of a convolution by `more` zeros behind each spatial dimension."""
    source = conv.args[0]
    shape = [
        *source.meta["val"].shape[:2],
        *(n + m for n, m in zip(source.meta["val"].shape[2:], more, strict=True)),
    ]
    pads = [side for extra in reversed(more) for side in (0, extra)]
    with graph_module.graph.inserting_before(conv):
        return shaped(call(graph_module, source, ATEN.constant_pad_nd.default, (source, pads, 0.0)), shape)


def fold_pads(graph_module: GraphModule) -> None:
    """Moves a zero pad that is the same on both sides into the padding of the convolutions that read it.

    Each pad left before a convolution costs two TRANSPOSE in an int8 TFLite file: EfficientNet-Lite0 drops from
    33 to 9. Different sides (the stride-2 "same" convolutions of TensorFlow models) cannot be folded.
    """
    for node in list(graph_module.graph.nodes):
        if not is_zero_pad(node) or not all(user.target in _CONV_RANK for user in node.users):
            continue
        sides = [_both_sides(node.args[1], _CONV_RANK[user.target]) for user in node.users]
        if None in sides:
            continue
        for user, added in zip(list(node.users), sides, strict=True):
            _add_padding(user, node, added or [])
        graph_module.graph.erase_node(node)


PASSES: list[Callable[[GraphModule], None]] = [
    unwrapped.unwrap,
    functionalize,
    to_single,
    *plain_forms.PASSES,
    fold_constants,
    explicit_padding,
    fold_pads,
]


def _spread(value: Any, rank: int) -> list[int]:
    """Repeats a scalar or a one-element list for every spatial dimension."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(v) for v in (values * rank if len(values) == 1 else values)]


def _both_sides(pad: list[int], rank: int) -> list[int] | None:
    """Turns [left, right, top, bottom, ...] into [..., top, left].

    None unless both sides are equal and only space is padded.
    """
    if len(pad) % 2 or not all(isinstance(p, int) and p >= 0 for p in pad) or any(pad[2 * rank :]):
        return None
    pairs = [(pad[i], pad[i + 1]) for i in range(0, min(len(pad), 2 * rank), 2)]
    pairs += [(0, 0)] * (rank - len(pairs))
    return [left for left, _ in reversed(pairs)] if all(a == b for a, b in pairs) else None


def _add_padding(conv: Node, pad: Node, added: list[int]) -> None:
    rank = len(added)
    full = [*conv.args, *[None, [1] * rank, [0] * rank, [1] * rank, 1][len(conv.args) - 2 :]]
    padding = [p + a for p, a in zip(_spread(full[4], rank), added, strict=True)]
    conv.args = (pad.args[0], *full[1:4], padding, *full[5:])
