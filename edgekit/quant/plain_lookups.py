"""Lookups of several numbers at once, in operators that every converter has.

bags of equal length (nn.EmbeddingBag)      the lookup of each number, and their sum, mean or largest
deformable convolutions                     places read by grid_sample, and a convolution over the taps
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import program
from edgekit.quant.rewriting import call, calls, constant, replace, shaped
from edgekit.quant.rules import known

ATEN = torch.ops.aten

_FLAT = known("reshape.default", "view.default", "flatten.using_ints")
#: what becomes of the numbers of a bag, by torch's number of it
_OF_A_BAG = {0: ATEN.sum.dim_IntList, 1: ATEN.mean.dim, 2: ATEN.amax.default}


def bags_to_lookups(graph_module: GraphModule) -> None:
    """Rewrites an embedding_bag of [N, L] numbers, which nn.EmbeddingBag hands over flat, with 0, L, 2 L, ... as where bags begin."""
    for node in calls(graph_module, *known("embedding_bag.padding_idx", "embedding_bag.default")):
        table, numbers, begins, _, mode, _, factors, *rest = [*node.args, False, 0, False, None][:9]
        rows = numbers.args[0] if numbers.target in _FLAT else None
        regular = begins.target is ATEN.arange.start_step and begins.args[0] == 0
        readers = [reader for reader in node.users if reader.users]
        first = all(reader.target is operator.getitem and reader.args[1] == 0 for reader in readers)
        if rows is None or not regular or not first or factors is not None or any(rest[:2]):
            continue
        shape = rows.meta["val"].shape
        if len(shape) != 2 or shape[1] != begins.args[2]:
            continue
        width = table.meta["val"].shape[1]
        for reader in readers:
            with graph_module.graph.inserting_before(reader):
                found = call(graph_module, reader, ATEN.embedding.default, (table, rows))
                shaped(found, [*shape, width])
                replace(reader, call(graph_module, reader, _OF_A_BAG[mode], (found, [1])))
        for reader in list(node.users):
            graph_module.graph.erase_node(reader)
        graph_module.graph.erase_node(node)


def deformed_to_samples(graph_module: GraphModule) -> None:
    """Rewrites torchvision's deform_conv2d of fixed sizes."""
    for node in program.calls(graph_module):
        if str(node.target) == "torchvision.deform_conv2d.default":
            sizes = [size for source in node.args[:4] for size in source.meta["val"].shape]
            if all(isinstance(size, int) for size in sizes):
                with graph_module.graph.inserting_before(node):
                    made = _Deformed(graph_module, node).written()
                replace(node, made)


class _Deformed:
    """A deformable convolution, and where what it becomes is inserted."""

    def __init__(self, graph_module: GraphModule, node: Node) -> None:
        self._module, self._node = graph_module, node
        self.image, self.weight, self.offset, self.mask, self.bias = node.args[:5]
        self.stride, self.padding, self.dilation = (tuple(node.args[i : i + 2]) for i in (5, 7, 9))
        self.groups, self.parts, self.masked = node.args[11:14]
        self.samples, _, self.height, self.width = node.meta["val"].shape
        self.kernel = tuple(self.weight.meta["val"].shape[2:])
        self.taps = self.kernel[0] * self.kernel[1]

    def written(self) -> Node:
        channels, places = self.image.meta["val"].shape[1], self.height * self.width
        made = [self._of_part(part, channels // self.parts) for part in range(self.parts)]
        read = (
            made[0]
            if len(made) == 1
            else self._call(ATEN.cat.default, [made, 1], [self.samples, channels, self.taps, places])
        )
        shape = [*self.weight.meta["val"].shape[:2], self.taps, 1]
        kernel = shaped(call(self._module, self.weight, ATEN.reshape.default, (self.weight, shape)), shape)
        args = [read, kernel, self.bias, [1, 1], [0, 0], [1, 1], self.groups]
        summed = self._call(ATEN.conv2d.default, args, [self.samples, shape[0], 1, places])
        return call(
            self._module, self._node, ATEN.reshape.default, (summed, list(self._node.meta["val"].shape))
        )

    def _of_part(self, part: int, channels: int) -> Node:
        """What a part of the channels is at the places of all taps, [N, C, K, H * W]."""
        shape = [self.samples, channels, *self.image.meta["val"].shape[2:]]
        image = self._cut(self.image, part * channels, channels, shape)
        rows = self.taps * self.height
        grid = self._call(
            ATEN.reshape.default, [self._places(part), [self.samples, rows, self.width, 2]], None
        )
        read = self._call(
            ATEN.grid_sampler.default, [image, grid, 0, 0, False], [self.samples, channels, rows, self.width]
        )
        shape = [self.samples, channels, self.taps, self.height * self.width]
        read = self._call(ATEN.reshape.default, [read, shape], None)
        if not self.masked:
            return read
        shape = [self.samples, self.taps, self.height, self.width]
        mask = self._cut(self.mask, part * self.taps, self.taps, shape)
        mask = self._call(
            ATEN.reshape.default, [mask, [self.samples, 1, self.taps, self.height * self.width]], None
        )
        return self._call(ATEN.mul.Tensor, [read, mask], list(read.meta["val"].shape))

    def _places(self, part: int) -> Node:
        """The places of all taps as grid_sample takes them: from -1 to 1, x before y."""
        shape, sides = [self.samples, self.taps, self.height, self.width], []
        for axis in (1, 0):
            begin, end = 2 * self.taps * part + axis, 2 * self.taps * (part + 1)
            moved = self._call(ATEN.slice.Tensor, [self.offset, 1, begin, end, 2], shape)
            size = self.image.meta["val"].shape[2 + axis]
            moved = self._call(ATEN.mul.Tensor, [moved, 2 / size], shape)
            still = constant(self._module, self._node, (2 * self._regular(axis)[None] + 1) / size - 1)
            sides.append(self._call(ATEN.add.Tensor, [moved, still], shape))
        return self._call(ATEN.stack.default, [sides, -1], [*shape, 2])

    def _regular(self, axis: int) -> torch.Tensor:
        """Where an ordinary convolution reads along an axis, [K, H, W]."""
        taps = torch.arange(self.kernel[axis]) * self.dilation[axis] - self.padding[axis]
        of_tap = taps[:, None] if axis == 0 else taps[None, :]
        steps = torch.arange((self.height, self.width)[axis]) * self.stride[axis]
        steps = steps[:, None] if axis == 0 else steps[None, :]
        whole = of_tap.expand(self.kernel).reshape(-1, 1, 1) + steps[None]
        return whole.expand(self.taps, self.height, self.width).float()

    def _cut(self, source: Node, begin: int, length: int, shape: list[int]) -> Node:
        if self.parts == 1:
            return source
        return self._call(ATEN.slice.Tensor, [source, 1, begin, begin + length], shape)

    def _call(self, target: Any, args: list[Any], shape: list[int] | None) -> Node:
        made = call(self._module, self._node, target, tuple(args))
        return shaped(made, args[1] if shape is None else shape)


PASSES: list[Callable[[GraphModule], None]] = [bags_to_lookups, deformed_to_samples]
