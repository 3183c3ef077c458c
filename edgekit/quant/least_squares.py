"""The weight that least squares would choose, and the integers near it: `edgekit.quant.rounding` says what for."""

import math
from collections.abc import Sequence

import torch

DAMPING = 0.1  # times the mean diagonal of H, added when rounding: few samples leave small directions open
DAMPINGS = (0.01, 0.1, 1.0, 10.0)  # tried for T
BLOCK = 64  # columns that are rounded before the error moves on to the rest

Pair = tuple[torch.Tensor, torch.Tensor]


def repaired(weight: torch.Tensor, halves: Sequence[Pair], both: Pair) -> torch.Tensor:
    """Computes T, the weight of least squares, at the best damping.

    That is the damping with which each half of the samples best predicts the other.

    Args:
        weight: The float weight, [G, O, D].
        halves: The moments of each half of the samples.
        both: The moments of all samples.

    Returns:
        T; the weight itself where no damping does better.
    """
    losses = {math.inf: 0.0}
    for damping in DAMPINGS:
        changes = [_change(weight, half, damping) for half in halves]
        losses[damping] = sum(
            _loss(weight, change, other) for change, other in zip(changes, reversed(halves), strict=True)
        )
    best = min(losses, key=lambda damping: losses[damping])
    return weight if best == math.inf else weight + _change(weight, both, best)


def _change(weight: torch.Tensor, moments: Pair, damping: float) -> torch.Tensor:
    hessian, cross = moments
    factor = torch.linalg.cholesky(damped(hessian, damping))
    return torch.cholesky_solve((weight @ cross).transpose(1, 2), factor).transpose(1, 2)


def _loss(weight: torch.Tensor, change: torch.Tensor, moments: Pair) -> float:
    """Returns E |W x - (W + change) y|^2, less what no change would leave."""
    hessian, cross = moments
    return float((change * (change @ hessian - 2 * weight @ cross)).sum())


def gptq(target: torch.Tensor, hessian: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Rounds `target` column by column, moving each error onto the columns that are not yet rounded.

    Args:
        target: The weight in steps of its scale, [G, O, D].
        hessian: H, [G, D, D].
        low: The lowest integer allowed.
        high: The highest integer allowed.

    Returns:
        Integers Q [G, O, D] near `target` with a small tr((Q - target) H (Q - target)^T).
    """
    order = hessian.diagonal(dim1=1, dim2=2).argsort(1, descending=True)
    rows = order[:, None].expand_as(target)
    hessian = hessian.gather(1, order[:, :, None].expand_as(hessian))
    hessian = hessian.gather(2, order[:, None].expand_as(hessian))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = target.gather(2, rows)
    integers = torch.empty_like(left)
    for start in range(0, left.shape[2], BLOCK):
        stop = min(start + BLOCK, left.shape[2])
        errors = torch.empty_like(left[:, :, start:stop])
        for j in range(start, stop):
            integers[:, :, j] = left[:, :, j].round().clamp(low, high)
            error = (left[:, :, j] - integers[:, :, j]) / factor[:, None, j, j]
            left[:, :, j:stop] -= error[:, :, None] * factor[:, None, j, j:stop]
            errors[:, :, j - start] = error
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return torch.empty_like(integers).scatter(2, rows, integers)


def damped(hessian: torch.Tensor, damping: float) -> torch.Tensor:
    """Adds `damping` times the mean diagonal of `hessian` [G, D, D] to its diagonal; the identity where it is zero."""
    mean = hessian.diagonal(dim1=1, dim2=2).mean(1)
    added = torch.where(mean > 0, damping * mean, torch.ones_like(mean))
    return hessian + added[:, None, None] * torch.eye(hessian.shape[1], dtype=hessian.dtype)
