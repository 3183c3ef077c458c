"""How much a network needs each of its channels. One criterion a file; the file's name is the name that options use.

Each file has `score(graph, evidence) -> Scored`: importance of every channel of every group, of any scale; the least goes first.
`evidence` holds training batches, and what they are judged by, where the task has them.
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
    """batches: (inputs, labels). loss(outputs, labels) -> a number, the mean. seed: of what is drawn."""

    batches: Sequence[tuple[tuple[torch.Tensor, ...], Any]] = ()
    loss: Callable[[Any, Any], Any] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Scored:
    """scores: [width] by root. figures: what the criterion tells about itself, with units."""

    scores: dict[str, torch.Tensor]
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)


def names() -> tuple[str, ...]:
    """The criteria there are."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def find(name: str) -> ModuleType:
    """The criterion called `name`. Raises UserError with the allowed names."""
    if name not in names():
        raise UserError(f"unknown criterion {name!r}; allowed are {', '.join(names())}")
    return import_module(f"{__name__}.{name}")


def by_group(graph: Graph, importance: Callable[[Any], torch.Tensor | None]) -> Scored:
    """One of Torch-Pruning's criteria on each group; groups of which it says nothing are left out.
    Where all weights are zero they divide zero by zero: no channel is needed there, nor more than another."""
    found = {root: importance(group.full) for root, group in graph.groups.items()}
    return Scored(
        {root: scores.detach().cpu().nan_to_num() for root, scores in found.items() if scores is not None}
    )


def training(evidence: Evidence, criterion: str) -> Callable[[Any, Any], Any]:
    """The loss. Raises TaskError where there is no training data."""
    if evidence.loss is None or not evidence.batches:
        raise TaskError(
            f"criterion {criterion!r} needs Training(batches=..., loss=...) in the task; l2 needs no data"
        )
    return evidence.loss


def rows(values: Any, number: int) -> Any:
    """One sample of a tensor, or of all tensors in a structure, as a batch of 1."""
    return pytree.tree_map(
        lambda v: v[number : number + 1] if isinstance(v, torch.Tensor) and v.dim() else v, values
    )
