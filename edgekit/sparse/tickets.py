"""What the search for a lottery ticket does between two trainings: prune, rewind, and the control."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.fx import GraphModule

from edgekit.errors import UserError
from edgekit.quant import tensors
from edgekit.quant.trainable import OneByOne, weights


def shares(sparsity: float, each: float) -> list[float]:
    """Returns the sparsity after each round, in which a share `each` of what is left goes.

    The last is `sparsity` itself.
    """
    rounds = max(1, math.ceil(math.log(1 - sparsity) / math.log(1 - each) - 1e-9))
    return [*(1 - (1 - each) ** number for number in range(1, rounds)), sparsity]


def shuffled(kept: Sequence[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """Returns random masks that keep as much of every layer: what a ticket must beat."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for mask in kept:
        order = torch.randperm(mask.numel(), generator=generator).to(mask.device)
        found.append(mask.flatten()[order].view(mask.shape))
    return found


def early_weights(path: Path, graph: GraphModule) -> dict[str, torch.Tensor]:
    """Reads early weights.

    Args:
        path: A .safetensors file.
        graph: The model that they must fit.

    Returns:
        The tensors of the graph, by path.

    Raises:
        UserError: The file cannot be read, or belongs to another model.
    """
    try:
        found = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise UserError(f"option rewind: {path} cannot be read ({error}); {_EXPECTED}") from error
    stored = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    missing = sorted(set(weights(graph)) - set(found))
    if missing:
        raise UserError(f"option rewind: {path} holds no {missing[0]!r}, as the program does; {_EXPECTED}")
    for name in sorted(stored & set(found)):
        theirs, ours = list(found[name].shape), list(tensors.read(graph, name).shape)
        if theirs != ours:
            raise UserError(
                f"option rewind: {name!r} is {theirs} in {path} and {ours} in the program; {_EXPECTED}"
            )
    return {name: found[name] for name in sorted(stored & set(found))}


_EXPECTED = "give the .safetensors of this model from early in its training: python -m edgekit.train TASK --option images=N"


@torch.no_grad()
def rewind(model: GraphModule | OneByOne, early: Mapping[str, torch.Tensor]) -> None:
    """Overwrites the trained tensors with the early ones, in place; masks stay."""
    graph = model.graph if isinstance(model, OneByOne) else model
    for path, value in early.items():
        tensors.read(graph, path).copy_(value)
