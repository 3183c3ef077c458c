"""What `edgekit.train.loop.fit` trains: the student with what trains along and is dropped afterwards.

In training mode it answers everything that a loss compares, in eval mode as the student alone. What is in it is in the checkpoints;
frozen teachers are not, they stay with the objective.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from edgekit.distill.adapters import Adapter
from edgekit.distill.pairs import Pair
from edgekit.distill.taps import Tapped
from edgekit.distill.terms import named
from edgekit.train.objective import Distillation, total


class Answers(NamedTuple):
    """Of the student: outputs and the adapted feature of each pair. beside: what the mode's own part answers."""

    outputs: Any
    features: tuple[torch.Tensor, ...]
    beside: Any = ()


class Distiller(nn.Module):
    """beside: a mode's own part, called with the inputs and the student's answers (outputs, features)."""

    def __init__(self, student: Tapped, adapters: Sequence[Adapter], beside: nn.Module | None = None) -> None:
        super().__init__()
        self.student, self.adapters, self.beside = student, nn.ModuleList(adapters), beside

    def forward(self, *inputs: torch.Tensor) -> Any:
        outputs, features = self.student(*inputs)
        if not self.training:
            return outputs
        beside = self.beside(inputs, outputs, features) if self.beside is not None else ()
        adapted = tuple(adapter(f) for adapter, f in zip(self.adapters, features, strict=False))
        return Answers(outputs, adapted, beside)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a mode makes its method of. teachers: with the features of `pairs` tapped. response: the loss of outputs."""

    student: Tapped
    teachers: Sequence[Tapped]
    pairs: Sequence[Pair]
    response: Distillation
    weight: float = 1.0
    decay: float = 0.999
    cached: bool = True


class Method(NamedTuple):
    """model and objective are for `fit`. on_step: what the mode does at the start of each update."""

    model: Distiller
    objective: "Imitation"
    on_step: Callable[[float], None] | None = None


class Imitation:
    """The objective of every mode: (model in training mode, inputs, labels or None) -> loss."""

    def __init__(self, setting: Setting, adapters: Sequence[Adapter]) -> None:
        self.setting, self.adapters = setting, adapters

    @property
    def teachers(self) -> list[nn.Module]:
        """Frozen ones, which the loop may share out."""
        return self.setting.response.teachers

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any) -> torch.Tensor:
        return total(self.terms(model, inputs, labels))

    def terms(
        self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any
    ) -> dict[str, torch.Tensor]:
        """The weighted parts of the loss by name."""
        raise NotImplementedError

    def features(
        self, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The term of each pair, by its name."""
        found = {}
        for pair, adapter, own, other in zip(self.setting.pairs, self.adapters, ours, theirs, strict=True):
            value = named(pair.term).loss(own, adapter.other(other))
            found[pair.name] = self.setting.weight * pair.weight * value
        return found


def adapters_of(setting: Setting, teacher: Tapped) -> list[Adapter]:
    shapes = zip(setting.pairs, setting.student.shapes, teacher.shapes, strict=True)
    return [Adapter(pair, ours, theirs) for pair, ours, theirs in shapes]
