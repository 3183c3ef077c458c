"""What a layer multiplies its weight with: patches of its input, and their running moments in two models at once."""

import math

import torch
import torch.nn.functional as F
from torch.fx import Node

from edgekit.quant import rules

POSITIONS = 256  # patches taken of one sample, evenly spread
LINEAR = torch.ops.aten.linear.default


class Moments:
    """Running sums over patches x (float) and y (integer model), both [G, D, n], of G groups."""

    def __init__(self) -> None:
        self.count = 0
        self.sum_x = self.sum_y = self.sum_yy = self.sum_ey = torch.zeros(())

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Adds the patches of a few samples, [G, D, n] each; those that hold NaN are left out."""
        if not (x.sum() + y.sum()).isfinite():
            whole = (x.isfinite() & y.isfinite()).all(1).all(0)
            x, y = x[:, :, whole], y[:, :, whole]
        self.count += x.shape[2]
        self.sum_x, self.sum_y = self.sum_x + x.sum(2), self.sum_y + y.sum(2)
        self.sum_yy = self.sum_yy + y @ y.transpose(1, 2)
        self.sum_ey = self.sum_ey + (x - y) @ y.transpose(1, 2)

    def __add__(self, other: "Moments") -> "Moments":
        total = Moments()
        for name, value in vars(self).items():
            setattr(total, name, value + getattr(other, name))
        return total

    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the means of x and y, [G, D] each."""
        return self.sum_x.double() / self.count, self.sum_y.double() / self.count

    def spread(self, centred: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the second moments of y, and of (x - y) with y.

        Args:
            centred: Whether they are taken around the means.

        Returns:
            (H, C), [G, D, D] each.
        """
        hessian, cross = self.sum_yy.double() / self.count, self.sum_ey.double() / self.count
        if centred:
            x, y = self.means()
            hessian = hessian - y[:, :, None] * y[:, None]
            cross = cross - (x - y)[:, :, None] * y[:, None]
        return hessian, cross


def patches(layer: Node, x: torch.Tensor, weight: torch.Size) -> torch.Tensor:
    """Returns what a layer multiplies its weight with.

    Args:
        layer: The node of the layer.
        x: Its input.
        weight: The shape of its weight.

    Returns:
        [G, D, n], with n at most POSITIONS for each sample.
    """
    if layer.target is LINEAR:
        rows = x.reshape(-1, x.shape[-1])
        return rows[:: math.ceil(len(rows) / (POSITIONS * x.shape[0]))].T[None]
    rank = rules.conv_rank(layer)
    full = [*layer.args, *[None, [1], [0], [1], 1][len(layer.args) - 2 :]]
    stride, padding, dilation = ([int(v) for v in (list(s) * rank)[:rank]] for s in full[3:6])
    x = F.pad(x, [p for p in reversed(padding) for _ in (0, 1)])
    kernel = list(weight[2:])
    if rank == 1:
        x, kernel, stride, dilation = x[:, :, None], [1, *kernel], [1, *stride], [1, *dilation]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sizes = [(n - span) // s + 1 for n, span, s in zip(x.shape[2:], spans, stride, strict=True)]
    thin = max(1.0, math.prod(sizes) / POSITIONS) ** (1 / rank)
    every = [min(n, math.ceil(thin)) for n in sizes]
    first = [s * (e // 2) for s, e in zip(stride, every, strict=True)]
    x = x[:, :, first[0] :, first[1] :]
    found = F.unfold(x, kernel, dilation, 0, [s * e for s, e in zip(stride, every, strict=True)])
    groups = int(full[6])
    return found.reshape(x.shape[0], groups, -1, found.shape[2]).permute(1, 2, 0, 3).flatten(2)
