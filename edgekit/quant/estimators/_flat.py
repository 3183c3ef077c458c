"""The values of a tensor in the order of memory, where reading across it would be ten times slower, and a part of them."""

import math

import torch


def flat(x: torch.Tensor) -> torch.Tensor:
    """Returns every value of `x` once, in any order: a view where the tensor is dense, channels first or last."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1)
    return x.detach().reshape(-1)


def part(count: int, most: int, turn: int) -> slice:
    """Returns a slice of at most `most` of `count` values, spread over every row and channel.

    Args:
        count: How many values there are.
        most: The largest number of values to take.
        turn: Which turn it is: each takes other values, and the same ones in each run.
    """
    step = -(-count // most)
    while math.gcd(step, count) > 1:
        step += 1
    return slice(turn * 7919 % step, None, step)
