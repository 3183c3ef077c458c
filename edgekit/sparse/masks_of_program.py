"""Masks that keep the zeros of an earlier step while a later technique trains."""

from torch.fx import GraphModule

from edgekit import technique
from edgekit.quant.trainable import OneByOne
from edgekit.records import Candidate
from edgekit.sparse import layers
from edgekit.sparse.masks import Masks


def is_sparse(candidate: Candidate) -> bool:
    """Whether a step of the recipe made weights zero on purpose."""
    return any(technique.of(figure.step).makes_zeros for figure in candidate.figures)


def masks_of_zeros(candidate: Candidate, model: GraphModule | OneByOne) -> Masks | None:
    """Masks every zero weight of a training graph, so that it stays zero.

    Args:
        candidate: Tells which steps were applied before.
        model: The training graph, which is changed in place.

    Returns:
        The masks, or None where no step made zeros on purpose.
    """
    if not is_sparse(candidate):
        return None
    graph = model.graph if isinstance(model, OneByOne) else model
    masks = Masks(model, layers.find(graph), "magnitude")
    masks.put([weight != 0 for weight in masks.weights()])
    return masks
