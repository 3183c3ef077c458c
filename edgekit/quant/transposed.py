"""Transposed convolutions as convolutions, which have integer kernels where transposed ones have none.

Along one axis a transposed convolution of stride s writes y[s u + r] = sum over j of x[u - j] w[s j + r]: each of the s
phases r is a convolution with every s-th tap of the kernel. So one convolution makes all phases as channels, and a pixel
shuffle puts them beside each other (Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?",
arXiv:1609.07009). Padding crops the result, output padding crops less. With a kernel that s divides the multiplications
are the same; else it is filled up with zeros. With a dilation only stride 1 is rewritten: a convolution with the kernel turned
round. Groups stay groups, weights keep one scale for each channel and phase.

TFLite has an integer kernel for [N, C, H, W] without groups; there only the output padding is said as a slice.
"""

from math import ceil
from typing import Any, NamedTuple

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import rules, tensors
from edgekit.quant.rewriting import call, calls, constant, replace, shaped

ATEN = torch.ops.aten

_RANK = {ATEN.conv_transpose1d.default: 1, ATEN.conv_transpose2d.input: 2}
_CONV = {1: ATEN.conv1d.default, 2: ATEN.conv2d.default}
_POINTWISE = rules.FUSED | {ATEN.leaky_relu.default, ATEN.hardswish.default}


class _Layer(NamedTuple):
    """The arguments of a transposed convolution, one number for each axis."""

    source: Node
    weight: Node
    bias: Node | None
    stride: list[int]
    padding: list[int]
    more: list[int]  # output padding
    groups: int
    dilation: list[int]


def transposed_to_convolution(graph_module: GraphModule, native: bool = False) -> None:
    """Rewrites every transposed convolution with constant weights.

    Args:
        graph_module: The graph.
        native: Whether the target multiplies ungrouped ones of two axes in integers itself: they stay.
    """
    for node in calls(graph_module, *_RANK):
        layer = _read(node)
        if native and _is_native(node, layer):
            _slice_instead(graph_module, node, layer)
        elif _fits(layer):
            _rewrite(graph_module, node, layer)


def output_padding_to_slice(graph_module: GraphModule) -> None:
    """Says output padding as a slice of the whole output, for a converter that does not know it."""
    for node in calls(graph_module, *_RANK):
        layer = _read(node)
        if any(layer.more):
            if _crops(layer):
                _slice_instead(graph_module, node, layer)
            elif _fits(layer):
                _rewrite(graph_module, node, layer)


def _read(node: Node) -> _Layer:
    rank = _RANK[node.target]
    args = [*node.args, *[None, 1, 0, 0, 1, 1][len(node.args) - 2 :]]
    stride, padding, more, dilation = (
        list(v) * (rank // len(v)) if isinstance(v, (list, tuple)) else [v] * rank
        for v in (args[3], args[4], args[5], args[7])
    )
    return _Layer(args[0], args[1], args[2], stride, padding, more, args[6], dilation)


def _fits(layer: _Layer) -> bool:
    stored = rules.is_constant(layer.weight) and (layer.bias is None or rules.is_constant(layer.bias))
    return stored and len(set(layer.stride)) == 1 and (set(layer.dilation) == {1} or _is_turned(layer))


def _is_native(node: Node, layer: _Layer) -> bool:
    return layer.groups == 1 and _RANK[node.target] == 2 and _crops(layer) and set(layer.dilation) == {1}


def _is_turned(layer: _Layer) -> bool:
    """Whether it is a convolution with its kernel turned round: one of stride 1 that pads as far as its kernel reaches, at most."""
    return set(layer.stride) == {1} and not any(layer.more) and min(_reach(layer)) >= 0


def _reach(layer: _Layer) -> list[int]:
    kernel = layer.weight.meta["val"].shape[2:]
    return [d * (k - 1) - p for d, k, p in zip(layer.dilation, kernel, layer.padding, strict=True)]


def _crops(layer: _Layer) -> bool:
    """Whether the output is a part of what the kernel reaches."""
    return all(p >= m for p, m in zip(layer.padding, layer.more, strict=True))


def _slice_instead(graph_module: GraphModule, node: Node, layer: _Layer) -> None:
    """Computes the whole output and cuts `padding` off its start, and off its end what output padding leaves."""
    if not any(layer.more):
        return
    last, before = _behind(node), list(layer.source.meta["val"].shape[2:])
    sizes = list(node.meta["val"].shape[2:])
    kernel = layer.weight.meta["val"].shape[2:]
    node.args = (*layer[:3], layer.stride, [0] * len(kernel), [0] * len(kernel), layer.groups, layer.dilation)
    whole = [
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip(before, layer.stride, layer.dilation, kernel, strict=True)
    ]
    for step in {node, last}:
        shaped(step, [*node.meta["val"].shape[:2], *whole])
    readers = list(last.users)
    cut = _cut(graph_module, last, layer.padding, sizes)
    for reader in readers:
        reader.replace_input_with(last, cut)


def _behind(node: Node) -> Node:
    """Returns the activation that reads the layer alone, else the layer."""
    user = rules.only_user(node)
    return user if user is not None and user.target in _POINTWISE else node


def _cut(graph_module: GraphModule, node: Node, starts: list[int], sizes: list[int]) -> Node:
    """Takes `sizes` elements from `starts` of each axis behind the second."""
    for axis, (start, size) in enumerate(zip(starts, sizes, strict=True), 2):
        shape = list(node.meta["val"].shape)
        if (start, size) == (0, shape[axis]):
            continue
        with graph_module.graph.inserting_after(node):
            node = call(graph_module, node, ATEN.slice.Tensor, (node, axis, start, start + size))
        shaped(node, [*shape[:axis], size, *shape[axis + 1 :]])
    return node


def _turn(graph_module: GraphModule, node: Node, layer: _Layer) -> None:
    weight = tensors.read(graph_module, str(layer.weight.target))
    with graph_module.graph.inserting_before(node):
        kernel = constant(graph_module, node, _phases(weight, layer.groups, 1, list(weight.shape[2:])))
        args = (layer.source, kernel, layer.bias, layer.stride, _reach(layer), layer.dilation, layer.groups)
        replace(node, call(graph_module, node, _CONV[weight.dim() - 2], args))


def _rewrite(graph_module: GraphModule, node: Node, layer: _Layer) -> None:
    if set(layer.dilation) != {1}:
        _turn(graph_module, node, layer)
        return
    weight = tensors.read(graph_module, str(layer.weight.target))
    step, rank = layer.stride[0], weight.dim() - 2
    taps = [
        ceil(max(k, k + m - p) / step)
        for k, m, p in zip(weight.shape[2:], layer.more, layer.padding, strict=True)
    ]
    before, sizes = layer.source.meta["val"].shape[2:], list(node.meta["val"].shape[2:])
    ends = [
        step * (n + t - 1) - p - size
        for n, t, p, size in zip(before, taps, layer.padding, sizes, strict=True)
    ]
    spared = [min(p // step, e // step, t - 1) for p, e, t in zip(layer.padding, ends, taps, strict=True)]
    phases, channels = step**rank, weight.shape[1] * layer.groups
    with graph_module.graph.inserting_before(node):
        kernel = constant(graph_module, node, _phases(weight, layer.groups, step, taps))
        bias = layer.bias
        if bias is not None:
            bias = constant(
                graph_module,
                node,
                tensors.read(graph_module, str(bias.target)).repeat_interleave(phases),
            )
        padding = [t - 1 - s for t, s in zip(taps, spared, strict=True)]
        ones = [1] * rank
        made = call(
            graph_module, node, _CONV[rank],
            (layer.source, kernel, bias, ones, padding, ones, layer.groups),
        )  # fmt: skip
        width = [n + t - 1 - 2 * s for n, t, s in zip(before, taps, spared, strict=True)]
        shaped(made, [node.meta["val"].shape[0], channels * phases, *width])
    done = _moved(graph_module, _behind(node), node, made)
    shuffled = _shuffle(graph_module, done, step, rank) if step > 1 else done
    cut = _cut(
        graph_module, shuffled, [p - step * s for p, s in zip(layer.padding, spared, strict=True)], sizes
    )
    node.replace_all_uses_with(cut)
    graph_module.graph.erase_node(node)


def _moved(graph_module: GraphModule, activation: Node, node: Node, made: Node) -> Node:
    """Puts the activation behind the convolution, where it is merged into it, and lets its readers read `node`."""
    if activation is node:
        return made
    with graph_module.graph.inserting_after(made):
        done = call(
            graph_module, activation, activation.target, (made, *activation.args[1:]), **activation.kwargs
        )
    done.meta["val"] = made.meta["val"]
    replace(activation, node)
    return done


def _phases(weight: torch.Tensor, groups: int, step: int, taps: list[int]) -> torch.Tensor:
    """Reorders [I, O / g, K, ...] into the kernel of all phases, [O * step ** rank, I / g, taps, ...]."""
    filling = [
        side
        for t, k in zip(reversed(taps), reversed(weight.shape[2:]), strict=True)
        for side in (0, t * step - k)
    ]
    full = torch.nn.functional.pad(weight, filling)
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    parts = full.reshape(groups, inputs, outputs, *[n for t in taps for n in (t, step)])
    axes = range(len(taps))
    order = (0, 2, *(4 + 2 * a for a in axes), 1, *(3 + 2 * a for a in axes))
    flipped = parts.permute(order).flip([3 + len(taps) + a for a in axes])
    return flipped.reshape(groups * outputs * step ** len(taps), inputs, *taps).contiguous()


def _shuffle(graph_module: GraphModule, node: Node, step: int, rank: int) -> Node:
    batch, channels, *sizes = node.meta["val"].shape
    channels //= step**rank
    last: Node = node

    def then(target: Any, args: tuple[Any, ...], shape: list[int]) -> Node:
        nonlocal last
        with graph_module.graph.inserting_after(last):
            last = shaped(call(graph_module, last, target, (last, *args)), shape)
        return last

    if rank == 2:
        return then(ATEN.pixel_shuffle.default, (step,), [batch, channels, *(n * step for n in sizes)])
    (length,) = sizes
    then(ATEN.reshape.default, ([batch, channels, step, length],), [batch, channels, step, length])
    then(ATEN.transpose.int, (2, 3), [batch, channels, length, step])
    return then(ATEN.reshape.default, ([batch, channels, length * step],), [batch, channels, length * step])
