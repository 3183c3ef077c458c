"""Student and teacher learn together, each from the labels and from the other's current answers.

Deep mutual learning, Zhang et al. 2017 (arXiv:1706.00384). The peer starts from the teacher's program, which
may know no more than the student. Cost: forward and backward passes of both.
"""

from typing import Any

import torch
from torch import nn

from edgekit.distill import pairs
from edgekit.distill.adapters import adapters
from edgekit.distill.distiller import Distiller, Imitation, Method, Setting, detached
from edgekit.distill.taps import Tapped, graph_of

TEACHERS = "trained"


class Peer(nn.Module):
    """The teacher as it trains along."""

    def __init__(self, model: Tapped) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: tuple[torch.Tensor, ...], features: Any) -> Any:
        """Returns the peer's outputs and features for the same inputs; `features` is unused."""
        return self.model(*inputs)


class Online(Imitation):
    """The loss of the student and of its peer."""

    def terms(
        self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any
    ) -> dict[str, torch.Tensor]:
        """Lets student and peer learn from each other; each one's answers are detached where the other imitates them."""
        ours = model(*inputs)
        outputs, features = ours.beside
        found = self.response.terms(ours.outputs, [detached(outputs)], labels)
        peer = self.response.terms(outputs, [detached(ours.outputs)], labels)
        return {
            **found,
            **{f"peer's {name}": value for name, value in peer.items()},
            **self.compared(ours.features, detached(features)),
        }


def method(setting: Setting) -> Method:
    """Makes the method; see the head of the module."""
    (teacher,) = setting.teachers
    chosen = pairs.read(setting.features, graph_of(setting.student), graph_of(teacher))
    student = Tapped(setting.student, [pair.student for pair in chosen], "student")
    peer = Tapped(teacher, [pair.teacher for pair in chosen], "teacher")
    fitted = adapters(chosen, student, peer)
    objective = Online(setting.response(), chosen, fitted, setting.weight)
    return Method(Distiller(student, fitted, Peer(peer)), objective)
