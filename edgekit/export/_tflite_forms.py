"""Rewrites of a program for litert-torch alone, each proven against the program before it.

output padding      a slice of the whole output: litert-torch writes another function (one axis) or fails (two)
stft                two convolutions, with cosines and sines as kernels: TFLite has no complex numbers
"""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import proven, tensors
from edgekit.quant.rewriting import call, calls, constant, replace, shaped
from edgekit.quant.transposed import output_padding_to_slice

ATEN = torch.ops.aten
Make = Callable[[Any, tuple[Any, ...]], Node]


def for_litert(graph_module: GraphModule) -> GraphModule:
    """Runs every pass that finds something, in place; one that would change what the graph computes is undone."""
    if calls(graph_module, *_FOUND):
        proven.rewrite(
            graph_module, [output_padding_to_slice, stft_to_convolutions], proven.of_graph(graph_module)
        )
    return graph_module


def stft_to_convolutions(graph_module: GraphModule) -> None:
    """Rewrites a short-time Fourier transform, and what reads its complex numbers, in real numbers.

    Left alone where the window is no constant, or something reads the complex numbers that is not in REAL.
    """
    for node in calls(graph_module, ATEN.stft.default):
        window = [*node.args, None, None, None][4]
        stored = not isinstance(window, Node) or window.op == "get_attr"
        if stored and all(reader.target in REAL for reader in node.users):
            real, imaginary = (
                _convolved(graph_module, node, kernel) for kernel in _kernels(graph_module, node)
            )
            for reader in list(node.users):
                _read_parts(graph_module, reader, real, imaginary)
            graph_module.graph.erase_node(node)


def _kernels(graph_module: GraphModule, node: Node) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what each sample of a frame adds to each frequency: torch's own transform of single samples."""
    _, size, _, *rest = [*node.args, None][: max(3, len(node.args))]
    given = [tensors.read(graph_module, str(a.target)) if isinstance(a, Node) else a for a in rest]
    waves = ATEN.stft.default(torch.eye(size), size, size, *given, **node.kwargs)[:, :, 0].t()
    return waves.real.contiguous()[:, None], waves.imag.contiguous()[:, None]


def _convolved(graph_module: GraphModule, node: Node, kernel: torch.Tensor) -> Node:
    """Inserts the convolution of every frame with a kernel [F, 1, size]; [..., F, frames] as of the transform."""
    signal: Node = node.args[0]
    shape, after = list(signal.meta["val"].shape), list(node.meta["val"].shape)
    flat, hop = [prod(shape[:-1]), 1, shape[-1]], [*node.args, None][2] or node.args[1] // 4
    with graph_module.graph.inserting_before(node):
        signals = shaped(call(graph_module, signal, ATEN.reshape.default, (signal, flat)), flat)
    weight = constant(graph_module, node, kernel)
    with graph_module.graph.inserting_before(node):
        made = call(graph_module, signals, ATEN.conv1d.default, (signals, weight, None, [hop]))
        shaped(made, [flat[0], *after[-2:]])
        return shaped(call(graph_module, made, ATEN.reshape.default, (made, after)), after)


def _read_parts(graph_module: GraphModule, reader: Node, real: Node, imaginary: Node) -> None:
    def make(target: Any, args: tuple[Any, ...]) -> Node:
        return call(graph_module, reader, target, args)

    with graph_module.graph.inserting_before(reader):
        replace(reader, REAL[reader.target](make, real, imaginary))


def _abs(make: Make, real: Node, imaginary: Node) -> Node:
    squares = [make(ATEN.mul.Tensor, (part, part)) for part in (real, imaginary)]
    return make(ATEN.sqrt.default, (make(ATEN.add.Tensor, tuple(squares)),))


#: what may read complex numbers, and how it is said of their parts
REAL: dict[Any, Callable[[Make, Node, Node], Node]] = {
    ATEN.abs.default: _abs,
    ATEN.real.default: lambda make, real, imaginary: real,
    ATEN.imag.default: lambda make, real, imaginary: imaginary,
    ATEN.view_as_real.default: lambda make, real, imaginary: make(
        ATEN.stack.default, ([real, imaginary], -1)
    ),
    ATEN.angle.default: lambda make, real, imaginary: make(ATEN.atan2.default, (imaginary, real)),
}
_FOUND = (ATEN.stft.default, ATEN.conv_transpose1d.default, ATEN.conv_transpose2d.input)
