"""Weights on a grid of few levels around zero: integers times one scale for each output channel, or for each block of one.

The scale is the one of least squared error among some that clip the largest values. The largest value that is left then is the last
level, so that a converter finds the same grid again from the numbers alone.
"""

import torch

CLIPS = 21  # scales that are tried, from SMALLEST_CLIP of the largest value to all of it
SMALLEST_CLIP = 0.6
MOVED = 0.2  # of a level: float16 moves one of 127 by 0.06, and the largest, which tells the scale, by as much again
FINEST = (
    2.0**-24
)  # the smallest step of float16: weights of channels that are nearly dead lie between its numbers
DEAD = 16 * FINEST  # what no scale in float16 reaches is zero


def highest(bits: int) -> int:
    """Returns the last level on either side of zero."""
    return int(2 ** (bits - 1)) - 1


def divides(weight: torch.Tensor, block: int) -> bool:
    """Whether the input channels of a weight [O, I, ...] are whole blocks."""
    return not block or weight.shape[1] % block == 0


def rounded(weight: torch.Tensor, bits: int, block: int) -> torch.Tensor:
    """Rounds a weight [O, I, ...] to 2^bits - 1 levels.

    Args:
        weight: The weight.
        bits: The bits of a level.
        block: Input channels that share a scale; 0 = all of an output channel.
    """
    rows = _rows(weight, block)
    top, last = rows.abs().amax(1, keepdim=True), highest(bits)
    rows = rows.masked_fill(top < DEAD, 0.0)
    best, least = rows, torch.full_like(top, float("inf"))
    for clip in torch.linspace(SMALLEST_CLIP, 1.0, CLIPS):
        scale = torch.where(top > 0, top * clip / last, torch.ones_like(top))
        tried = (rows / scale).round().clamp(-last, last) * scale
        error = (tried - rows).square().sum(1, keepdim=True)
        best, least = torch.where(error <= least, tried, best), torch.minimum(error, least)
    return best.reshape(weight.shape).to(weight.dtype)


def is_on(weight: torch.Tensor, bits: int, block: int) -> bool:
    """Whether a weight, perhaps rounded to float16 since, is on such a grid."""
    if not divides(weight, block):
        return False
    rows, last = _rows(weight, block), highest(bits)
    top = rows.abs().amax(1, keepdim=True)
    scale = torch.where(top > 0, top / last, torch.ones_like(top))
    away = (rows - (rows / scale).round() * scale).abs()
    return bool(((away < MOVED * scale) | (away <= FINEST)).all())


def _rows(weight: torch.Tensor, block: int) -> torch.Tensor:
    """What shares a scale, a row each: [O, ...], or [O x I / block, ...]."""
    wide = weight.double()
    return wide.reshape(-1, block * wide[0, 0].numel()) if block else wide.flatten(1)
