"""Numbers that a module stores about its own width and reads when it runs.

torchvision's vision transformer reshapes to `self.hidden_dim`. Such a number is updated if it is the width of
a pruned group below the module, and all groups of that width below it got the same new width. Nothing tells
whether the number really means this width, so this is tried only where a pruned module does not run, and what
it then computes is checked.
"""

from collections.abc import Mapping

from torch import nn


def follow(module: nn.Module, widths: Mapping[str, tuple[int, int]]) -> list[str]:
    """Updates the numbers in place.

    Args:
        module: The pruned module.
        widths: (before, after) of each group, by root.

    Returns:
        The names of the updated attributes, such as "encoder.hidden_dim".
    """
    changed = []
    for name, owner in module.named_modules():
        if not any(True for _ in owner.children()):
            continue
        below = [pair for root, pair in widths.items() if not name or root.startswith(f"{name}.")]
        for key, value in vars(owner).items():
            became = {after for before, after in below if isinstance(value, int) and before == value}
            if len(became) == 1 and became != {value}:
                setattr(owner, key, became.pop())
                changed.append(f"{name}.{key}" if name else key)
    return changed
