"""How much a network needs each of its channels: one criterion a file, under the name that options use.

Each file has `score(graph, evidence) -> Scored`, the importance of every channel of every group, on any
scale; the channel with the least goes first. `evidence` holds training batches, and the loss that judges
them, where the task has them. A new criterion also needs its name in `Criterion`.
"""

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

from edgekit.errors import TaskError, UserError
from edgekit.prune.graph import Graph

Criterion = Literal["bn_scale", "fpgm", "hessian", "l1", "l2", "lamp", "random", "shapley", "taylor"]


@dataclass(frozen=True)
class Evidence:
    """Data that a criterion may look at.

    Attributes:
        batches: Training batches (inputs, labels).
        loss: loss(outputs, labels) returns a number, the mean over the batch.
        seed: The seed of everything that is drawn.
    """

    batches: Sequence[tuple[tuple[torch.Tensor, ...], Any]] = ()
    loss: Callable[[Any, Any], Any] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Scored:
    """What a criterion found.

    Attributes:
        scores: The importance of each channel, [width], by root.
        figures: What the criterion reports about itself, with units.
    """

    scores: dict[str, torch.Tensor]
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)


def names() -> tuple[str, ...]:
    """Returns the names of all criteria."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def find(name: str) -> ModuleType:
    """Returns the module of a criterion.

    Raises:
        UserError: There is no criterion of that name.
    """
    if name not in names():
        raise UserError(f"unknown criterion {name!r}; allowed are {', '.join(names())}")
    return import_module(f"{__name__}.{name}")


def by_group(graph: Graph, importance: Callable[[Any], torch.Tensor | None]) -> Scored:
    """Applies one of Torch-Pruning's criteria to each group.

    Groups that the criterion says nothing about are left out. Where all weights are zero such criteria divide
    zero by zero: then no channel is needed, and none more than another.
    """
    found = {root: importance(group.full) for root, group in graph.groups.items()}
    return Scored(
        {root: scores.detach().cpu().nan_to_num() for root, scores in found.items() if scores is not None}
    )


def training(evidence: Evidence, criterion: str) -> Callable[[Any, Any], Any]:
    """Returns the loss.

    Raises:
        TaskError: The task has no training data.
    """
    if evidence.loss is None or not evidence.batches:
        raise TaskError(
            f"criterion {criterion!r} needs Training(batches=..., loss=...) in the task; l2 needs no data"
        )
    return evidence.loss


def rows(values: Any, number: int) -> Any:
    """Returns one sample of a tensor, or of all tensors in a structure, as a batch of 1."""
    return pytree.tree_map(
        lambda v: v[number : number + 1] if isinstance(v, torch.Tensor) and v.dim() else v, values
    )
