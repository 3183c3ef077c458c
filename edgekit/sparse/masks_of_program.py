"""Zeros of a step before, in a technique that trains after it."""

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
    """Masks in a training graph that keep every zero of its weights; None where none was made on purpose."""
    if not is_sparse(candidate):
        return None
    graph = model.graph if isinstance(model, OneByOne) else model
    masks = Masks(model, layers.find(graph), "magnitude")
    masks.put([weight != 0 for weight in masks.weights()])
    return masks
