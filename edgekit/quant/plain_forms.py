"""The same function in operators that every converter has.

a cast to the same type           nothing
add, sub, rsub with alpha         a product, then add or sub: coremltools drops alpha, litert-torch has no such argument
& | ^ of truth values           logical_and, logical_or, not_equal
rms_norm without eps            with the eps that torch takes then, which coremltools demands
new_ones, zeros_like, ...       full: they depend on an input by its shape alone, and are computed once
nearest resizes by a fraction   rows and columns picked by stored numbers, which converters compute differently
nearest-exact by whole numbers  nearest, which is the same there
clamp between tensors           minimum and maximum
one_hot                         a comparison with 0, 1, 2, ...: no check of the index is left
adaptive_max_pool               max_pool over equal windows, else slices, their largest, and a join
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import plain_distances, plain_lookups, plain_pads, plain_patches
from edgekit.quant.constants import FREE
from edgekit.quant.rewriting import call, calls, constant, replace, shaped
from edgekit.quant.rules import known

ATEN = torch.ops.aten

_LOGICAL = {
    "__and__": ATEN.logical_and.default, "bitwise_and": ATEN.logical_and.default,
    "__or__": ATEN.logical_or.default, "bitwise_or": ATEN.logical_or.default,
    "__xor__": ATEN.ne.Tensor, "bitwise_xor": ATEN.ne.Tensor,
}  # fmt: skip
#: what fills the shape of another tensor, and with which number; None where it is the last argument
FILLED: dict[Any, int | None] = {
    ATEN.ones_like.default: 1, ATEN.zeros_like.default: 0, ATEN.new_ones.default: 1, ATEN.new_zeros.default: 0,
    ATEN.full_like.default: None, ATEN.new_full.default: None,
}  # fmt: skip
_CASTS = known("to.dtype", "to.dtype_layout", "to.device", "type_as.default")
_NEAREST = {1: ATEN.upsample_nearest1d.vec, 2: ATEN.upsample_nearest2d.vec, 3: ATEN.upsample_nearest3d.vec}
_EXACT = {
    1: ATEN._upsample_nearest_exact1d.vec,
    2: ATEN._upsample_nearest_exact2d.vec,
    3: ATEN._upsample_nearest_exact3d.vec,
}


def alpha_to_product(graph_module: GraphModule) -> None:
    """Rewrites add(x, y, alpha=a) as add(x, y * a), sub likewise, rsub(x, y) of tensors as sub(y, x), of a number as rsub(x * a, y)."""
    for node in calls(graph_module, ATEN.rsub.Scalar):
        alpha = node.args[2] if len(node.args) > 2 else node.kwargs.get("alpha", 1)
        if alpha != 1:
            with graph_module.graph.inserting_before(node):
                product = call(graph_module, node.args[0], ATEN.mul.Tensor, (node.args[0], alpha))
            node.args = (product, node.args[1])
        node.kwargs = {}
    for node in calls(graph_module, ATEN.rsub.Tensor):
        node.target, node.args = ATEN.sub.Tensor, (node.args[1], node.args[0], *node.args[2:])
    for node in calls(graph_module, ATEN.add.Tensor, ATEN.sub.Tensor):
        alpha = node.args[2] if len(node.args) > 2 else node.kwargs.get("alpha", 1)
        node.args, node.kwargs = node.args[:2], {}
        if alpha == 1:
            continue
        scaled: Any = node.args[1]
        if isinstance(scaled, Node):
            with graph_module.graph.inserting_before(node):
                scaled = call(graph_module, scaled, ATEN.mul.Tensor, (scaled, alpha))
            scaled.meta["val"] = node.args[1].meta["val"]
        else:
            scaled = scaled * alpha
        node.args = (node.args[0], scaled)


def bits_to_logic(graph_module: GraphModule) -> None:
    """Rewrites &, | and ^ of truth values; of whole numbers they stay."""
    for name, logical in _LOGICAL.items():
        for node in calls(graph_module, *known(f"{name}.Tensor")):
            if all(_is_bool(value) for value in node.args):
                node.target = logical


def _is_bool(value: Any) -> bool:
    return isinstance(value, Node) and value.meta["val"].dtype is torch.bool


def eps_of_rms(graph_module: GraphModule) -> None:
    """Writes the eps that rms_norm takes where none is given."""
    for node in calls(graph_module, *known("rms_norm.default")):
        args = [*node.args, None, None][:4]
        args[2:] = [node.kwargs.get("weight", args[2]), node.kwargs.get("eps", args[3])]
        if args[3] is None:
            eps = float(torch.finfo(node.meta["val"].dtype).eps)
            node.args, node.kwargs = (*args[:3], eps), {}


def filled_to_full(graph_module: GraphModule) -> None:
    """Rewrites what fills a shape with a number, so that it depends on no input."""
    for target, value in FILLED.items():
        for node in calls(graph_module, target):
            tensor = node.meta["val"]
            number = node.args[-1] if value is None else value
            if isinstance(number, Node) or any(not isinstance(size, int) for size in tensor.shape):
                continue
            if FREE in node.meta:  # its shape follows another tensor's
                continue
            kind = {"dtype": tensor.dtype, "device": torch.device("cpu"), "pin_memory": False}
            with graph_module.graph.inserting_before(node):
                full = call(graph_module, node, ATEN.full.default, (list(tensor.shape), number), **kind)
            replace(node, full)


def nearest_to_picks(graph_module: GraphModule) -> None:
    """Rewrites nearest resizes by other than whole numbers as picks of rows and columns, as torch picks them."""
    for targets in (_NEAREST, _EXACT):
        for rank, target in targets.items():
            for node in calls(graph_module, target):
                if _is_whole(node):
                    node.target = _NEAREST[rank]
                elif all(isinstance(size, int) for size in node.meta["val"].shape):
                    _pick(graph_module, node, targets[1], rank)


def _is_whole(node: Node) -> bool:
    """Whether every side grows by a whole number, and by the very factor that is asked for."""
    before, after = node.args[0].meta["val"].shape[2:], node.meta["val"].shape[2:]
    factors = [*node.args[1:], None, None][1] or [a / b for a, b in zip(after, before, strict=True)]
    return all(
        math.isclose(f, round(f)) and a == b * round(f)
        for a, b, f in zip(after, before, factors, strict=True)
    )


def _pick(graph_module: GraphModule, node: Node, one_axis: Any, rank: int) -> None:
    size, factors = [*node.args[1:], None, None][:2]
    picked: Node = node.args[0]
    shape = list(picked.meta["val"].shape)
    for axis in range(rank):
        places = torch.arange(shape[2 + axis], dtype=torch.float32)[None, None]
        of_axis = [None if given is None else [given[axis]] for given in (size, factors)]
        index = one_axis(places, *of_axis)[0, 0].long()
        shape[2 + axis] = len(index)
        stored = constant(graph_module, node, index)
        with graph_module.graph.inserting_before(node):
            picked = shaped(
                call(graph_module, node, ATEN.index_select.default, (picked, 2 + axis, stored)), shape
            )
    replace(node, picked)


def clamp_to_limits(graph_module: GraphModule) -> None:
    """Rewrites clamp(x, low, high) between tensors as minimum(maximum(x, low), high)."""
    for node in calls(graph_module, ATEN.clamp.Tensor):
        low, high = [*node.args[1:], None, None][:2]
        limits = (
            (ATEN.maximum.default, node.kwargs.get("min", low)),
            (ATEN.minimum.default, node.kwargs.get("max", high)),
        )
        value: Node = node.args[0]
        with graph_module.graph.inserting_before(node):
            for target, limit in limits:
                if limit is not None:
                    value = call(graph_module, node, target, (value, limit))
        replace(node, value)


def one_hot_to_comparison(graph_module: GraphModule) -> None:
    """Rewrites one_hot(index, n) as index == [0, 1, ..., n - 1], in whole numbers."""
    for node in calls(graph_module, *known("one_hot.default")):
        shape = list(node.meta["val"].shape)
        places = constant(graph_module, node, torch.arange(shape[-1]))
        with graph_module.graph.inserting_before(node):
            index = call(graph_module, node, ATEN.unsqueeze.default, (node.args[0], -1))
            same = call(graph_module, node, ATEN.eq.Tensor, (shaped(index, [*shape[:-1], 1]), places))
            same.meta["val"] = node.meta["val"].new_empty(shape, dtype=torch.bool)
            replace(node, call(graph_module, node, ATEN.to.dtype, (same, torch.int64)))


def adaptive_to_max_pool(graph_module: GraphModule) -> None:
    """Rewrites an adaptive maximum over equal windows as a max_pool, over others window by window."""
    for node in calls(graph_module, ATEN.adaptive_max_pool2d.default):
        readers = list(node.users)
        sizes = node.args[0].meta["val"].shape[-2:]
        outputs = node.args[1]
        fixed = all(isinstance(size, int) for size in sizes)
        if not fixed or not all(r.target is operator.getitem and r.args[1] == 0 for r in readers):
            continue
        windows = [n // m for n, m in zip(sizes, outputs, strict=True)]
        unequal = any(n % m for n, m in zip(sizes, outputs, strict=True))
        for reader in readers:
            with graph_module.graph.inserting_before(reader):
                if unequal:
                    made = _largest(
                        graph_module, _largest(graph_module, node.args[0], 2, outputs[0]), 3, outputs[1]
                    )
                else:
                    given = (node.args[0], windows, windows)
                    made = call(graph_module, reader, ATEN.max_pool2d.default, given)
                replace(reader, made)
        graph_module.graph.erase_node(node)


def _largest(graph_module: GraphModule, value: Node, axis: int, count: int) -> Node:
    """The largest of each of `count` windows along an axis, which overlap where they do not fit."""
    shape = list(value.meta["val"].shape)
    parts = []
    for number in range(count):
        start, end = number * shape[axis] // count, -(-(number + 1) * shape[axis] // count)
        window = call(graph_module, value, ATEN.slice.Tensor, (value, axis, start, end))
        shaped(window, [*shape[:axis], end - start, *shape[axis + 1 :]])
        part = call(graph_module, value, ATEN.amax.default, (window, [axis], True))
        parts.append(shaped(part, [*shape[:axis], 1, *shape[axis + 1 :]]))
    joined = call(graph_module, value, ATEN.cat.default, (parts, axis))
    return shaped(joined, [*shape[:axis], count, *shape[axis + 1 :]])


def casts_to_nothing(graph_module: GraphModule) -> None:
    """Drops what converts a tensor to the type that it has, which would keep an output from being integers."""
    for node in calls(graph_module, *_CASTS):
        source = node.args[0]
        copied = node.kwargs.get("copy") or (len(node.args) > 3 and node.args[3])
        passed = source.op == "placeholder" and any(user.op == "output" for user in node.users)
        if source.meta["val"].dtype == node.meta["val"].dtype and not copied and not passed:
            replace(node, source)


PASSES: list[Callable[[GraphModule], None]] = [
    casts_to_nothing,
    alpha_to_product,
    bits_to_logic,
    eps_of_rms,
    filled_to_full,
    nearest_to_picks,
    clamp_to_limits,
    one_hot_to_comparison,
    adaptive_to_max_pool,
    *plain_pads.PASSES,
    *plain_patches.PASSES,
    *plain_lookups.PASSES,
    *plain_distances.PASSES,
]
