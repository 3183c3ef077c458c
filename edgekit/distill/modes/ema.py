"""The student's own average over its last updates teaches: a mean teacher, which needs no other model.

Tarvainen and Valpola 2017 (arXiv:1703.01780). The average answers in eval mode, with the student's batch norm
statistics. It helps most where labels are few, since the averaged answers are a target for unlabelled
samples. Cost: one more forward pass, and one more copy of the weights.
"""

import copy
from typing import Any

import torch
from torch import nn

from edgekit.distill import pairs
from edgekit.distill.adapters import adapters
from edgekit.distill.distiller import Distiller, Imitation, Method, Setting
from edgekit.distill.taps import Tapped, graph_of
from edgekit.train.weight_average import follow

TEACHERS = "none"


class Shadow(nn.Module):
    """The averaged student; its tensors and the number of updates are in checkpoints."""

    updates: torch.Tensor

    def __init__(self, student: Tapped, decay: float) -> None:
        super().__init__()
        self.model, self.decay = copy.deepcopy(student).requires_grad_(False), decay
        self.register_buffer("updates", torch.tensor(0))
        self.eval()

    def train(self, mode: bool = True) -> "Shadow":
        """Stays in eval mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, inputs: tuple[torch.Tensor, ...], features: Any) -> Any:
        """Returns the average's outputs and features for the same inputs, without gradients; `features` is unused."""
        return self.model(*inputs)

    @torch.no_grad()
    def follow(self, student: Tapped) -> None:
        """Averages the student's weights in, and copies its buffers."""
        self.updates += 1
        follow(dict(self.model.named_parameters()), student, self.decay, int(self.updates))
        own = dict(self.model.named_buffers())
        for name, buffer in student.named_buffers():
            own[name].copy_(buffer)


class MeanTeacher(Imitation):
    """The loss against the averaged student."""

    def terms(
        self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any
    ) -> dict[str, torch.Tensor]:
        """Compares the student with its average, which stands in for the teacher."""
        ours = model(*inputs)
        outputs, features = ours.beside
        return {
            **self.response.terms(ours.outputs, [outputs], labels),
            **self.compared(ours.features, features),
        }


def method(setting: Setting) -> Method:
    """Makes the method; see the head of the module."""
    graph = graph_of(setting.student)
    chosen = pairs.read(setting.features, graph, graph)
    student = Tapped(setting.student, [pair.student for pair in chosen], "student")
    shadow = Shadow(Tapped(setting.student, [pair.teacher for pair in chosen], "student"), setting.decay)
    fitted = adapters(chosen, student, shadow.model)
    objective = MeanTeacher(setting.response(), chosen, fitted, setting.weight)
    model = Distiller(student, fitted, shadow)
    return Method(model, objective, lambda progress: shadow.follow(student))
