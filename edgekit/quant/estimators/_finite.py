"""Numbers that are none: attention over rows that are all padding gives NaN, which a model masks later on.

Such a number says nothing of a range. Left in, it would make the whole range NaN, or the sum of a mean.
"""

import torch


def finite(values: torch.Tensor) -> torch.Tensor:
    """Returns the values that are finite numbers; `values` itself where all are, without a copy."""
    if not values.numel() or bool(torch.stack(torch.aminmax(values)).isfinite().all()):
        return values
    return values[values.isfinite()]


class Sees:
    """What watches a tensor in calibration, and counts what it left out.

    Attributes:
        ignored: How many numbers it saw that are NaN or infinite.
    """

    ignored = 0

    def kept(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the finite values and counts the others."""
        found = finite(values)
        self.ignored += values.numel() - found.numel()
        return found
