"""What `edgekit.train.loop.fit` trains: the student, and what trains along and is dropped afterwards.

In training mode it returns everything that a loss compares, in eval mode only what the student returns. Its
parts are in the checkpoints; frozen teachers are not, they belong to the objective.
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
    """What a student returns in training mode.

    Attributes:
        outputs: The outputs of the student.
        features: The adapted feature of each pair.
        beside: What the mode's own part returns.
    """

    outputs: Any
    features: tuple[torch.Tensor, ...]
    beside: Any = ()


class Distiller(nn.Module):
    """The student with what trains beside it.

    Args:
        student: The student, tapped at its features.
        adapters: One for each pair of features.
        beside: A mode's own part, called with the inputs and the student's features.
    """

    def __init__(
        self, student: Tapped, adapters: Sequence[Adapter] = (), beside: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.student, self.adapters, self.beside = student, nn.ModuleList(adapters), beside

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Returns `Answers` in training mode, the student's outputs in eval mode."""
        outputs, features = self.student(*inputs)
        if not self.training:
            return outputs
        beside = self.beside(inputs, features) if self.beside is not None else ()
        pairs = zip(self.adapters, features, strict=False)  # the features of exits have none
        return Answers(outputs, tuple(adapter(feature) for adapter, feature in pairs), beside)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a mode makes its method from.

    Attributes:
        student: The graph that trains.
        teachers: The graphs that teach.
        loss: The loss of the task.
        alpha: The weight of that loss.
        temperature: What softens the answers of teachers.
        features: Pairs of features, as the option gives them.
        weight: The weight of all features, or of the early exits.
        pseudo: The confidence from which an answer is a hard target.
        decay: The decay of a mean teacher.
        cached: Whether answers of teachers may be kept.
    """

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
        """Returns the loss on outputs."""
        return Distillation(teachers, self.loss, self.alpha, self.temperature, self.pseudo)


class Method(NamedTuple):
    """What a mode hands to `fit`.

    Attributes:
        model: What trains.
        objective: The loss.
        on_step: What the mode does at the start of each update.
    """

    model: Distiller
    objective: "Imitation"
    on_step: Callable[[float], None] | None = None


class Imitation:
    """The objective of every mode: (model in training mode, inputs, labels or None) -> loss.

    Args:
        response: The loss on outputs.
        pairs: The features to compare.
        adapters: One for each pair.
        weight: The weight of all features.
    """

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
        """The frozen teachers, which the loop may shard."""
        return self.response.teachers

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any) -> torch.Tensor:
        """Returns the loss of one batch, a scalar: the sum of `terms`."""
        return total(self.terms(model, inputs, labels))

    def terms(
        self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any
    ) -> dict[str, torch.Tensor]:
        """Returns the weighted parts of the loss by name."""
        raise NotImplementedError

    def compared(
        self, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Returns the term of each pair of features, by its name."""
        found = {}
        for (pair, size), own, other in zip(self.pairs, ours, theirs, strict=True):
            value = named(pair.term).loss(own, pooled(other, size))
            found[pair.name] = self.weight * pair.weight * value
        return found


def detached(outputs: Any) -> Any:
    """Returns the outputs without their history, so that no gradient flows into whatever computed them."""
    return pytree.tree_map(lambda value: value.detach(), outputs)
