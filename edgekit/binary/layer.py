"""A convolution of signs: y = alpha * conv(sign(x - t), sign(w)) + b, with one-bit inputs and weights.

XNOR-Net (Rastegari et al. 2016, arXiv:1603.05279) derives alpha, one for each output channel, from the
magnitude of the weights, and beta, one for each position, from that of the inputs. XNOR-Net++ (Bulat and
Tzimiropoulos 2019, arXiv:1909.13863) learns them, and so does this: alpha, and with scale "factorised" also
one factor for each row and each column. The thresholds t, one for each input channel, are learned as in
ReActNet (Liu et al. 2020, arXiv:2003.03488), because the output of a ReLU is never negative.

Three conventions apply everywhere, in training, in every export and in the one-bit kernels:
- an activation is +1 where x > t and -1 elsewhere, so that x = t gives -1: this is what FakeQuantize with two
  levels does in OpenVINO;
- a weight is +1 where w >= 0, else -1, and the program stores the signs;
- borders are padded with -1 after the sign; OpenVINO has no other border, and zero is not a sign.

In the backward pass, sign is treated as clip(u, -1, 1) with u = (x - t) / spread, and as the identity for
weights (straight through). `ease` blends from the float convolution (0) to signs (1).
"""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.nn import functional as F

from edgekit.binary.layer_choice import arguments
from edgekit.quant import rules, tensors

ATEN = rules.ATEN
BORDER = -1.0


class Geometry(NamedTuple):
    """How a kernel moves; padding is the same on both sides.

    Attributes:
        stride: Along rows and columns.
        padding: Along rows and columns.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]


class _Signs(torch.autograd.Function):
    """Maps to -1 and 1; in the backward pass it has the slope of clip(u, -1, 1)."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(u)
        return signs(u > 0)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (u,) = ctx.saved_tensors
        return gradient * (u.abs() <= 1)


class _WeightSigns(torch.autograd.Function):
    """Maps weights to -1 and 1; the gradient passes unchanged."""

    @staticmethod
    def forward(_ctx: Any, w: torch.Tensor) -> torch.Tensor:
        return signs(w >= 0)

    @staticmethod
    def backward(_ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def signs(positive: torch.Tensor) -> torch.Tensor:
    """Returns 1.0 where true, and -1.0 elsewhere."""
    return positive.float() * 2 - 1


class BinaryConv(nn.Module):
    """A binary convolution, [N, C, H, W] -> [N, D, H', W'], in the place of one with float weights.

    Args:
        weight: The float weights, [D, C, k, k].
        bias: The float bias, [D].
        geometry: Stride and padding.
        size: (H', W').
        factorised: Whether rows and columns get factors too.
    """

    spread: torch.Tensor

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        geometry: Geometry,
        size: tuple[int, int],
        factorised: bool,
    ) -> None:
        super().__init__()
        out, inputs = weight.shape[:2]
        self.geometry, self.ease = geometry, 1.0
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(torch.zeros(out) if bias is None else bias.clone())
        self.threshold = nn.Parameter(torch.zeros(inputs))
        self.alpha = nn.Parameter(weight.abs().mean((1, 2, 3)).clamp_min(1e-8))
        self.rows = nn.Parameter(torch.ones(size[0])) if factorised else None
        self.columns = nn.Parameter(torch.ones(size[1])) if factorised else None
        self.register_buffer("spread", torch.ones(inputs))

    @torch.no_grad()
    def centre(self, mean: torch.Tensor, spread: torch.Tensor) -> None:
        """Adapts to the inputs, so that the output stays about the same.

        Args:
            mean: The mean of each input channel, [C].
            spread: The mean distance from it, [C].
        """
        shift = torch.einsum("dckl,c->d", self.weight, mean)
        self.threshold.copy_(mean)
        self.spread.copy_(spread.clamp_min(1e-6))
        self.weight.mul_(self.spread.view(1, -1, 1, 1))
        self.bias.add_(shift)
        self.alpha.copy_(self.weight.abs().mean((1, 2, 3)).clamp_min(1e-8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolves the signs of `x` [N, C, H, W]; with `ease` below 1, a blend with the float convolution."""
        u = (x - self.threshold.view(-1, 1, 1)) / self.spread.view(-1, 1, 1)
        rows, columns = self.geometry.padding
        pad = [columns, columns, rows, rows]
        inputs, weight = F.pad(_Signs.apply(u), pad, value=BORDER), _WeightSigns.apply(self.weight)
        if self.ease < 1:
            alpha = self.alpha.detach().view(-1, 1, 1, 1)
            inputs = torch.lerp(F.pad(u, pad), inputs, self.ease)
            weight = torch.lerp(self.weight / alpha, weight, self.ease)
        y = F.conv2d(inputs, weight, stride=self.geometry.stride) * self.alpha.view(-1, 1, 1)
        return y * self.places() + self.bias.view(-1, 1, 1)

    def places(self) -> torch.Tensor | float:
        """Returns the factors of rows and columns, [1, 1, H', W'], or 1."""
        if self.rows is None or self.columns is None:
            return 1.0
        return (self.rows.view(-1, 1) * self.columns)[None, None]


def replace(graph: GraphModule, node: Node, factorised: bool) -> BinaryConv:
    """Replaces a convolution by a BinaryConv, in place, and returns it."""
    x, weight, bias, stride, padding, _, _ = arguments(node)
    stored = [None if part is None else tensors.read(graph, str(part.target)) for part in (weight, bias)]
    size = tuple(node.meta["val"].shape[2:])
    layer = BinaryConv(stored[0], stored[1], Geometry(tuple(stride), tuple(padding)), size, factorised)
    name = f"_binary_{node.name}"
    graph.add_submodule(name, layer)
    with graph.graph.inserting_before(node):
        call = graph.graph.call_module(name, (x,))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    graph.graph.erase_node(node)
    for part in (weight, bias):
        if part is not None and not part.users:
            graph.graph.erase_node(part)
    graph.recompile()
    return layer


def lower(graph: GraphModule) -> int:
    """Writes every BinaryConv of a graph as ordinary operators, in place, under the module it came from.

    They are where(x > t, 1, -1), a pad with -1, a convolution with weights of -1 and 1, times alpha, times
    the factors of positions, plus the bias.

    Returns:
        How many there were.
    """
    found = [node for node in graph.graph.nodes if node.op == "call_module"]
    layers = [(n, m) for n in found if isinstance(m := graph.get_submodule(str(n.target)), BinaryConv)]
    for number, (node, layer) in enumerate(layers):
        with graph.graph.inserting_before(node):
            after = _operators(graph, node, layer, f"_binary_{number}")
        node.replace_all_uses_with(after)
        graph.graph.erase_node(node)
        graph.delete_submodule(str(node.target))
    graph.graph.lint()
    graph.recompile()
    return len(layers)


@torch.no_grad()
def _operators(graph: GraphModule, node: Node, layer: BinaryConv, prefix: str) -> Node:
    def stored(name: str, value: torch.Tensor) -> Node:
        graph.register_buffer(f"{prefix}_{name}", value.detach().clone().contiguous())
        return graph.graph.get_attr(f"{prefix}_{name}")

    def call(target: Any, *args: Any) -> Node:
        made = graph.graph.call_function(target, args)
        made.meta = dict(node.meta)
        return made

    rows, columns = layer.geometry.padding
    above = call(ATEN.gt.Tensor, node.args[0], stored("threshold", layer.threshold.view(1, -1, 1, 1)))
    y = call(ATEN.where.Scalar, above, 1.0, -1.0)
    if rows or columns:
        y = call(ATEN.pad.default, y, [columns, columns, rows, rows], "constant", BORDER)
    weight = stored("weight", signs(layer.weight >= 0))
    y = call(ATEN.conv2d.default, y, weight, None, list(layer.geometry.stride))
    y = call(ATEN.mul.Tensor, y, stored("alpha", layer.alpha.view(1, -1, 1, 1)))
    places = layer.places()
    if isinstance(places, torch.Tensor):
        y = call(ATEN.mul.Tensor, y, stored("places", places))
    return call(ATEN.add.Tensor, y, stored("bias", layer.bias.view(1, -1, 1, 1)))
