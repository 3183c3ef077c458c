"""When weights become zero: all at once, or more and more while the network trains.

Gradual (Zhu & Gupta 2017, "To prune, or not to prune", arXiv:1710.01878): at the share t of the ramp the
sparsity is

    s(t) = s_final * (1 - (1 - t)^3)

fast while there is much to spare, slow near the end; then it stays constant. The masks are renewed RENEWALS
times.
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
    """When a gradual schedule rises.

    Attributes:
        begin: The share of the budget at which the sparsity begins to rise.
        end: The share of the budget at which it reaches its final value.

    Raises:
        UserError: It does not rise within 0 to 1.
    """

    begin: float
    end: float

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= 1:
            raise UserError(
                f"the ramp is from {self.begin} to {self.end}; it must rise within 0 to 1: give begin below end"
            )

    def renewals(self, progress: float) -> int:
        """Returns how many renewals are due when `progress` of the budget is used up."""
        t = (progress - self.begin) / (self.end - self.begin)
        return int(RENEWALS * min(1.0, max(0.0, t)))


def cubic(t: float, final: float) -> float:
    """Returns the sparsity at the share t of the ramp."""
    return float(final * (1 - (1 - t) ** 3))


class Gradual:
    """Renews masks on schedule; it is the `on_step` of the training loop.

    The number of renewals done is a buffer beside the first mask, so a training that resumes from a
    checkpoint renews at the same steps.

    Args:
        masks: The masks of the training graph.
        pattern: Weights that go together.
        sparsity: The final share of zeros.
        scope: Whether weights of all layers compete, or those of each layer.
        ramp: When the sparsity rises.
    """

    def __init__(self, masks: Masks, pattern: Pattern, sparsity: float, scope: Scope, ramp: Ramp) -> None:
        self._masks, self._pattern, self._scope = masks, pattern, scope
        self._final, self._ramp = sparsity, ramp
        masks.masks[0].register_buffer("renewals", torch.zeros((), dtype=torch.int64))

    def __call__(self, progress: float) -> None:
        """Renews the masks if a renewal is due.

        Args:
            progress: The share of the budget that was trained, 0 to 1.
        """
        due = self._ramp.renewals(progress)
        done = self._masks.masks[0].get_buffer("renewals")
        if due > int(done):
            self._masks.renew(self._pattern, cubic(due / RENEWALS, self._final), self._scope)
            done.fill_(due)
