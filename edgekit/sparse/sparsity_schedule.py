"""When weights go: all at once, or more and more while the net trains.

Gradual (Zhu & Gupta 2017, "To prune, or not to prune", arXiv:1710.01878): at the share t of the ramp the sparsity is

    s(t) = s_final * (1 - (1 - t)^3)

fast while there is much to spare, slow near the end, and then it stays. The masks are renewed RENEWALS times.
"""

from typing import Literal

import torch

from edgekit.errors import UserError
from edgekit.records import Record
from edgekit.sparse.masks import Masks
from edgekit.sparse.patterns import Pattern, Scope

RENEWALS = 50
When = Literal["one_shot", "gradual"]


class Ramp(Record):
    """Shares of the budget: where the sparsity begins to rise, and where it is reached."""

    begin: float
    end: float

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= 1:
            raise UserError(
                f"the ramp is from {self.begin} to {self.end}; it must rise within 0 to 1: give begin below end"
            )

    def renewals(self, progress: float) -> int:
        """How many are due."""
        t = (progress - self.begin) / (self.end - self.begin)
        return int(RENEWALS * min(1.0, max(0.0, t)))


def cubic(t: float, final: float) -> float:
    """The sparsity at a share of the ramp."""
    return float(final * (1 - (1 - t) ** 3))


class Gradual:
    """Renews masks in time, as `on_step` of the loop. How often it did is a buffer beside the first mask: a training that
    goes on from a checkpoint renews at the same steps."""

    def __init__(self, masks: Masks, pattern: Pattern, sparsity: float, scope: Scope, ramp: Ramp) -> None:
        self._masks, self._pattern, self._scope = masks, pattern, scope
        self._final, self._ramp = sparsity, ramp
        masks.masks[0].register_buffer("renewals", torch.zeros((), dtype=torch.int64))

    def __call__(self, progress: float) -> None:
        due = self._ramp.renewals(progress)
        done = self._masks.masks[0].get_buffer("renewals")
        if due > int(done):
            self._masks.renew(self._pattern, cubic(due / RENEWALS, self._final), self._scope)
            done.fill_(due)
