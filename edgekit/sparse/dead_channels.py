"""What a sparsity must leave: some of every layer, and preferably something of every output."""

from collections.abc import Sequence

import torch

from edgekit.errors import NotApplicable
from edgekit.sparse.layers import Layer
from edgekit.sparse.patterns import Pattern, Scope, limit


def check(
    layers: Sequence[Layer], scores: Sequence[torch.Tensor], pattern: Pattern, sparsity: float, scope: Scope
) -> None:
    """Refuses, before anything is trained, a sparsity that would remove a whole layer.

    Args:
        layers: The layers to make sparse.
        scores: The score of each weight of each layer.
        pattern: Weights that go together.
        sparsity: The share of zeros asked for.
        scope: Whether weights of all layers compete, or those of each layer.

    Raises:
        NotApplicable: A layer would be all zeros; the message names it and the largest sparsity that is
            possible.
    """
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
    """Returns a sentence for each layer whose outputs, in part, no longer depend on the model's input."""
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
    """Returns the number of output channels of [O, I, ...] of which nothing is kept."""
    return int((~kept.flatten(1).any(1)).sum())
