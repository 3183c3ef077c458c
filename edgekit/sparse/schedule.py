"""When weights go: all at once, or more and more while the net trains.

Gradual (Zhu & Gupta 2017, "To prune, or not to prune", arXiv:1710.01878): at the share t of the ramp the sparsity is

    s(t) = s_final * (1 - (1 - t)^3)

fast while there is much to spare, slow near the end, and then it stays. The masks are renewed RENEWALS times.
"""

from typing import Literal

import torch

from edgekit.sparse.masks import Masks
from edgekit.sparse.patterns import Pattern, Scope

RENEWALS = 50
When = Literal["one_shot", "gradual"]


def cubic(progress: float, ramp: float, final: float) -> float:
    """The sparsity at a share of the budget; reached at `ramp` of it."""
    t = min(1.0, progress / ramp) if ramp > 0 else 1.0
    return float(final * (1 - (1 - t) ** 3))


class Gradual:
    """Renews masks in time, as `on_step` of the loop. How often it did is a buffer beside the first mask: a training that
    goes on from a checkpoint renews at the same steps."""

    def __init__(self, masks: Masks, pattern: Pattern, sparsity: float, scope: Scope, ramp: float) -> None:
        self._masks, self._pattern, self._scope = masks, pattern, scope
        self._final, self._ramp = sparsity, ramp
        masks.masks[0].register_buffer("renewals", torch.zeros((), dtype=torch.int64))

    def __call__(self, progress: float) -> None:
        due = int(RENEWALS * min(1.0, progress / self._ramp)) if self._ramp > 0 else RENEWALS
        done = self._masks.masks[0].get_buffer("renewals")
        if due > int(done):
            share = cubic(due / RENEWALS, 1.0, self._final)
            self._masks.renew(self._pattern, share, self._scope)
            done.fill_(due)
