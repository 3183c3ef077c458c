"""What a sparsity must leave: some of every layer, and better something of every output."""

from collections.abc import Sequence

import torch

from edgekit.errors import NotApplicable
from edgekit.sparse.layers import Layer
from edgekit.sparse.patterns import Pattern, Scope, limit


def check(
    layers: Sequence[Layer], scores: Sequence[torch.Tensor], pattern: Pattern, sparsity: float, scope: Scope
) -> None:
    """Raises UserError, before anything is trained, for a sparsity that would take a whole layer."""
    if pattern.of:
        return
    least = limit(scores, pattern, scope)
    if not least.allows(sparsity):
        layer = layers[least.layer]
        raise NotApplicable(
            f"sparsity {sparsity:g} makes all of layer {layer.module!r} {list(layer.shape)} zero; "
            f"{_allowed(least.droppable / least.units)}{_cure(scope, layer.module)}"
        )


def doubts(layers: Sequence[Layer], kept: Sequence[torch.Tensor]) -> tuple[str, ...]:
    """Outputs of the model that no longer depend on its input."""
    found = [
        (layer, dead_channels(mask)) for layer, mask in zip(layers, kept, strict=True) if layer.ends_model
    ]
    return tuple(
        f"{dead} of the {layer.shape[0]} outputs of {layer.module} are the same for every input: all their weights are zero"
        for layer, dead in found
        if dead
    )


def _allowed(most: float) -> str:
    return (
        f"allowed here is at most {int(most * 1e4) / 1e4:g}"
        if most >= 1e-4
        else "no sparsity leaves something of it"
    )


def _cure(scope: Scope, module: str) -> str:
    other = ", or give scope=layer" if scope == "global" else ""
    return f"; ask for less{other}, or leave the layer dense with ignore={module}"


def dead_channels(kept: torch.Tensor) -> int:
    """Output channels of [O, I, ...] of which nothing is kept."""
    return int((~kept.flatten(1).any(1)).sum())
