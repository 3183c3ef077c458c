"""Teachers that were trained before and stay frozen; several are an ensemble to learn from all at once.

Hinton et al. 2015 (arXiv:1503.02531). The features of pairs are those of the first teacher. Where only
outputs are compared, they are kept for samples that come again (`edgekit.distill.cache`).
"""

from typing import Any

import torch
from torch import nn

from edgekit.distill import pairs
from edgekit.distill.adapters import adapters
from edgekit.distill.cache import Cache
from edgekit.distill.distiller import Distiller, Imitation, Method, Setting
from edgekit.distill.taps import Tapped, graph_of

TEACHERS = "frozen"


class Offline(Imitation):
    """The loss against frozen teachers."""

    cache: Cache | None = None

    def terms(
        self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any
    ) -> dict[str, torch.Tensor]:
        """Compares the student with the frozen teachers, which are not asked where only labels count (alpha 1, no pairs)."""
        ours = model(*inputs)
        if self.response.alpha == 1 and not self.pairs and labels is not None:
            return self.response.terms(ours.outputs, [], labels)
        answers = self.cache(inputs) if self.cache is not None else self.response.ask(inputs)
        found = self.response.terms(ours.outputs, [outputs for outputs, _ in answers], labels)
        return {**found, **self.compared(ours.features, answers[0][1])}


def method(setting: Setting) -> Method:
    """Makes the method; see the head of the module."""
    first, *more = setting.teachers
    chosen = pairs.read(setting.features, graph_of(setting.student), graph_of(first))
    student = Tapped(setting.student, [pair.student for pair in chosen], "student")
    teacher = Tapped(first, [pair.teacher for pair in chosen], "teacher")
    fitted = adapters(chosen, student, teacher)
    response = setting.response([teacher, *(Tapped(other, (), "teacher") for other in more)])
    objective = Offline(response, chosen, fitted, setting.weight)
    objective.cache = Cache(response.ask) if setting.cached and not chosen else None
    return Method(Distiller(student, fitted), objective)
