"""What `edgekit.train.loop.fit` trains: the student with what trains along and is dropped afterwards.

In training mode it answers everything that a loss compares, in eval mode as the student alone. What is in it is in the checkpoints;
frozen teachers are not, they stay with the objective.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from edgekit.distill.adapters import Adapter, pooled
from edgekit.distill.pairs import Pair
from edgekit.distill.taps import Tapped
from edgekit.distill.terms import named
from edgekit.quant.trainable import OneByOne
from edgekit.train.objective import Distillation, total


class Answers(NamedTuple):
    """Of the student: outputs and the adapted feature of each pair. beside: what the mode's own part answers."""

    outputs: Any
    features: tuple[torch.Tensor, ...]
    beside: Any = ()


class Distiller(nn.Module):
    """beside: a mode's own part, called with the inputs and the student's features."""

    def __init__(
        self, student: Tapped, adapters: Sequence[Adapter] = (), beside: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.student, self.adapters, self.beside = student, nn.ModuleList(adapters), beside

    def forward(self, *inputs: torch.Tensor) -> Any:
        outputs, features = self.student(*inputs)
        if not self.training:
            return outputs
        beside = self.beside(inputs, features) if self.beside is not None else ()
        pairs = zip(self.adapters, features, strict=False)  # the features of exits have none
        return Answers(outputs, tuple(adapter(feature) for adapter, feature in pairs), beside)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a mode makes its method of. student, teachers: graphs that train. loss: the task's. features: as an option says it."""

    student: GraphModule | OneByOne
    teachers: Sequence[GraphModule | OneByOne]
    loss: Callable[[Any, Any], Any]
    alpha: float
    temperature: float
    features: str = ""
    weight: float = 1.0
    pseudo: float = 0.0
    decay: float = 0.999
    cached: bool = True

    def response(self, teachers: Sequence[nn.Module] = ()) -> Distillation:
        """The loss of outputs."""
        return Distillation(teachers, self.loss, self.alpha, self.temperature, self.pseudo)


class Method(NamedTuple):
    """model and objective are for `fit`. on_step: what the mode does at the start of each update."""

    model: Distiller
    objective: "Imitation"
    on_step: Callable[[float], None] | None = None


class Imitation:
    """The objective of every mode: (model in training mode, inputs, labels or None) -> loss."""

    def __init__(
        self,
        response: Distillation,
        pairs: Sequence[Pair] = (),
        adapters: Sequence[Adapter] = (),
        weight: float = 1.0,
    ) -> None:
        self.response, self.weight = response, weight
        self.pairs = [(pair, adapter.size) for pair, adapter in zip(pairs, adapters, strict=True)]

    @property
    def teachers(self) -> list[nn.Module]:
        """Frozen ones, which the loop may share out."""
        return self.response.teachers

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any) -> torch.Tensor:
        return total(self.terms(model, inputs, labels))

    def terms(
        self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any
    ) -> dict[str, torch.Tensor]:
        """The weighted parts of the loss by name."""
        raise NotImplementedError

    def compared(
        self, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The term of each pair of features, by its name."""
        found = {}
        for (pair, size), own, other in zip(self.pairs, ours, theirs, strict=True):
            value = named(pair.term).loss(own, pooled(other, size))
            found[pair.name] = self.weight * pair.weight * value
        return found


def detached(outputs: Any) -> Any:
    return pytree.tree_map(lambda value: value.detach(), outputs)
