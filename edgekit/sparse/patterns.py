"""Which weights may become zero together: single ones, N of every M, or whole blocks.

A weight is [O, I, ...]: output channels, input channels of a group, positions of the kernel (none for a
linear layer).

    unstructured   any single weight: the least loss, and useful to only a few special kernels
    N:M  "2:4"     at most N of M consecutive input channels, at each position, are nonzero: for NVIDIA's
                   tensor cores (Mishra et al. 2021, arXiv:2104.08378)
    RxC  "4x1"     R consecutive output by C consecutive input channels become zero together: what vector
                   kernels can skip (XNNPACK's sparse products hold 2 or 4 output channels)

A unit is what is decided together: a weight, or a block. The share of zeros is exact: of n units round(share
* n) become zero, ties broken by position. Cost: one sort of the scores.
"""

import re
from collections.abc import Sequence
from typing import Literal

import torch

from edgekit.errors import UserError
from edgekit.records import Record

Scope = Literal["global", "layer"]
ALLOWED = 'allowed are "unstructured", N:M as in "2:4", and ROWSxCOLUMNS as in "4x1"'


class Pattern(Record):
    """Weights that go together.

    Attributes:
        name: As the option gives it.
        rows: Rows of a block; 1 where each weight stands alone.
        columns: Columns of a block; 1 where each weight stands alone.
        keep: N of N:M, 0 without groups.
        of: M of N:M, 0 without groups.
    """

    name: str
    rows: int = 1
    columns: int = 1
    keep: int = 0
    of: int = 0

    @property
    def own_sparsity(self) -> float | None:
        """The sparsity that N:M implies."""
        return 1 - self.keep / self.of if self.of else None

    def fits(self, shape: Sequence[int]) -> bool:
        """Returns whether a weight [O, I, ...] divides into whole groups or blocks."""
        return shape[0] % self.rows == 0 and shape[1] % max(self.columns, self.of) == 0

    def units(self, score: torch.Tensor) -> torch.Tensor:
        """Averages over each block: [O, I, ...] -> [O / rows, I / columns, ...]."""
        if self.rows == self.columns == 1:
            return score
        return score.unflatten(1, (-1, self.columns)).unflatten(0, (-1, self.rows)).mean((1, 3))

    def whole(self, units: torch.Tensor) -> torch.Tensor:
        """Repeats the value of each block for every weight in it, the inverse of `units`."""
        return units.repeat_interleave(self.rows, 0).repeat_interleave(self.columns, 1)


def read(text: str) -> Pattern:
    """Reads a pattern.

    Raises:
        UserError: There is no such pattern.
    """
    if text == "unstructured":
        return Pattern(name=text)
    groups, blocks = re.fullmatch(r"(\d+):(\d+)", text), re.fullmatch(r"(\d+)x(\d+)", text)
    if groups and 0 < int(groups[1]) < int(groups[2]):
        return Pattern(name=text, keep=int(groups[1]), of=int(groups[2]))
    if blocks and int(blocks[1]) * int(blocks[2]) > 1:
        return Pattern(name=text, rows=int(blocks[1]), columns=int(blocks[2]))
    raise UserError(f"sparsity pattern {text!r} is unknown; {ALLOWED}")


def select(
    scores: Sequence[torch.Tensor], pattern: Pattern, sparsity: float, scope: Scope
) -> list[torch.Tensor]:
    """Chooses the weights that stay.

    A share `sparsity` of the units, those with the lowest scores, is dropped; but never the last unit of a
    layer. N:M takes a sparsity of up to 1 - N/M: in each group, round(sparsity * M) weights are dropped.

    Args:
        scores: The score of each weight, [O, I, ...] for each layer.
        pattern: Weights that go together.
        sparsity: The share to drop.
        scope: Whether units of all layers compete, or those of each layer.

    Returns:
        A bool tensor in the shape of each score: True for weights that stay.
    """
    if pattern.of:
        dropped = min(round(sparsity * pattern.of), pattern.of - pattern.keep)
        return [_groups(score, pattern, dropped) for score in scores]
    units = [pattern.units(score) for score in scores]
    if scope == "layer":
        kept = [_least(unit.flatten(), sparsity).view(unit.shape) for unit in units]
    else:
        together = _least(torch.cat([unit.flatten() for unit in units]), sparsity)
        parts = together.split([unit.numel() for unit in units])
        kept = [part.view(unit.shape) for part, unit in zip(parts, units, strict=True)]
    for mask, unit in zip(kept, units, strict=True):
        if not mask.any():
            mask.view(-1)[unit.argmax()] = True
    return [pattern.whole(mask) for mask in kept]


def _groups(score: torch.Tensor, pattern: Pattern, dropped: int) -> torch.Tensor:
    grouped = score.movedim(1, -1).unflatten(-1, (-1, pattern.of))
    order = grouped.argsort(dim=-1, stable=True)
    kept = torch.ones_like(grouped, dtype=torch.bool).scatter_(-1, order[..., :dropped], False)
    return kept.flatten(-2).movedim(-1, 1).contiguous()


def _least(scores: torch.Tensor, share: float) -> torch.Tensor:
    kept = torch.ones_like(scores, dtype=torch.bool)
    kept[scores.argsort(stable=True)[: round(share * scores.numel())]] = False
    return kept


class Limit(Record):
    """The layer that would be the first to lose its last unit.

    Attributes:
        layer: Its place among the layers.
        droppable: How many units may go before it does.
        units: How many units compete.
    """

    layer: int
    droppable: int
    units: int

    def allows(self, sparsity: float) -> bool:
        """Returns whether a sparsity leaves something of every layer."""
        return round(sparsity * self.units) <= self.droppable


def limit(scores: Sequence[torch.Tensor], pattern: Pattern, scope: Scope) -> Limit:
    """Returns how much can be asked for without losing a whole layer; with N:M every group keeps N."""
    units = [pattern.units(score).flatten() for score in scores]
    if scope == "layer":
        least = min(range(len(units)), key=lambda i: units[i].numel())
        return Limit(layer=least, droppable=units[least].numel() - 1, units=units[least].numel())
    tops = torch.stack([unit.max() for unit in units])
    lowest, everything = int(tops.argmin()), torch.cat(units)
    return Limit(layer=lowest, droppable=int((everything < tops[lowest]).sum()), units=everything.numel())
