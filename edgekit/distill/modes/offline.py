"""Teachers that were trained before and stay as they are; several are an ensemble, and the student learns from all at once.

Hinton et al. 2015 (arXiv:1503.02531). The features of pairs are those of the first teacher.
"""

from typing import Any

import torch
from torch import nn

from edgekit.distill.distiller import Distiller, Imitation, Method, Setting, adapters_of


class Offline(Imitation):
    def terms(
        self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any
    ) -> dict[str, torch.Tensor]:
        response = self.setting.response
        ours = model(*inputs)
        theirs = response.ask(inputs) if response.alpha < 1 or self.setting.pairs or labels is None else []
        found = response.terms(ours.outputs, [outputs for outputs, _ in theirs], labels)
        return {**found, **(self.features(ours.features, theirs[0][1]) if self.setting.pairs else {})}


def method(setting: Setting) -> Method:
    adapters = adapters_of(setting, setting.teachers[0])
    return Method(Distiller(setting.student, adapters), Offline(setting, adapters))
