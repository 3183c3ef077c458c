"""Models whose weights are of another precision than float32: what is exported is a copy in float32, and that is said.

A copy, because the task's metric may ask the user's own module, with inputs of the precision that it was made for.
"""

import copy
from collections import Counter

import torch

from edgekit.trace.sources.keras_policy import DOUBT


def in_float32(model: torch.nn.Module) -> torch.nn.Module:
    """Returns the model in float32: itself where it is already."""
    tensors = [*model.parameters(), *model.buffers()]
    others = Counter(
        str(t.dtype).removeprefix("torch.")
        for t in tensors
        if t.is_floating_point() and t.dtype is not torch.float32
    )
    if not others:
        return model
    own = copy.deepcopy(model).float()
    if not getattr(own, DOUBT, ""):
        named = " and ".join(f"{kind} ({count} tensors)" for kind, count in sorted(others.items()))
        setattr(own, DOUBT, f"the model holds {named}: weights and arithmetic are exported in float32")
    return own
