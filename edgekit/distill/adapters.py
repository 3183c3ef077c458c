"""Makes a student's feature comparable with a teacher's: as many positions and, if needed, as many channels.

Positions [H, W] are averaged down to the smaller of the two. Channels go through a 1x1 convolution; features
of [N, C] and tokens of [N, T, C] go through a linear layer. Adapters train along with the student and are
dropped afterwards.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from edgekit.distill.pairs import Pair
from edgekit.distill.taps import Tapped
from edgekit.distill.terms import named
from edgekit.errors import NotApplicable, UserError


class Adapter(nn.Module):
    """Maps a student's feature to what a term compares with the teacher's, `pooled` to the same size.

    Args:
        pair: The two features and the term.
        ours: The shape of the student's feature for one sample.
        theirs: The shape of the teacher's feature for one sample.

    Raises:
        UserError: The term cannot compare the two.
        NotApplicable: The same, for a pair that was guessed and not named.
    """

    def __init__(self, pair: Pair, ours: list[int], theirs: list[int]) -> None:
        super().__init__()
        term = named(pair.term)
        self.size: tuple[int, int] | None = None
        self.change: nn.Module = nn.Identity()
        if term.equal == "none":
            return
        images = len(ours) == 4
        if len(ours) != len(theirs) or (len(ours) > 2 and not images and ours[1:-1] != theirs[1:-1]):
            kind = NotApplicable if pair.guessed else UserError
            raise kind(
                f"{pair.term} cannot compare student {pair.student!r} {ours} with teacher {pair.teacher!r} {theirs}; "
                "pair tensors of the same rank and number of tokens, or take rkd, which compares any two"
            )
        if images and ours[2:] != theirs[2:]:
            self.size = (min(ours[2], theirs[2]), min(ours[3], theirs[3]))
        axis = 1 if images else -1
        if term.equal == "all" and ours[axis] != theirs[axis]:
            widths = ours[axis], theirs[axis]
            self.change = nn.Conv2d(*widths, 1, bias=False) if images else nn.Linear(*widths, bias=False)

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """Returns the student's feature averaged to `size`, with the teacher's channels where the term needs them."""
        changed: torch.Tensor = self.change(pooled(feature, self.size))
        return changed


def pooled(feature: torch.Tensor, size: tuple[int, int] | None) -> torch.Tensor:
    """Averages a feature down to `size`; None leaves it as it is."""
    return feature if size is None else F.adaptive_avg_pool2d(feature, size)


def adapters(pairs: Sequence[Pair], student: Tapped, teacher: Tapped) -> list[Adapter]:
    """Makes one adapter for each pair, for graphs that are tapped at the features of these pairs."""
    return [
        Adapter(pair, ours, theirs)
        for pair, ours, theirs in zip(pairs, student.shapes, teacher.shapes, strict=True)
    ]
