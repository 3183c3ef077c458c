"""A network teaches its own earlier stages, through small heads that learn the labels and its answers.

"Be your own teacher", Zhang et al. 2019 (arXiv:1905.08094), without its hints. The early stages get more
informative gradients, and the heads are dropped at the end. The whole network learns from the labels alone,
the heads learn from both, weighted by `alpha`. `features` names the modules that get heads. Cost: the forward
and backward passes of the heads.
"""

from typing import Any

import torch
from torch import nn

from edgekit.distill import pairs
from edgekit.distill.distiller import Distiller, Imitation, Method, Setting, detached
from edgekit.distill.taps import Tapped, graph_of
from edgekit.errors import NotApplicable

TEACHERS = "none"


class Head(nn.Module):
    """Maps a feature [N, C, H, W], [N, T, C] or [N, C] to logits [N, classes].

    Args:
        shape: The shape of the feature.
        width: Channels of the hidden layer.
        classes: The number of classes.
    """

    def __init__(self, shape: list[int], width: int, classes: int) -> None:
        super().__init__()
        self.image = len(shape) == 4
        channels = shape[1] if self.image else shape[-1]
        hidden = nn.Conv2d(channels, width, 1, bias=False) if self.image else nn.Linear(channels, width)
        norm = nn.BatchNorm2d(width) if self.image else nn.Identity()
        self.hidden, self.answer = nn.Sequential(hidden, norm, nn.ReLU()), nn.Linear(width, classes)

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, classes] from the mean of the feature over its positions."""
        x = self.hidden(feature)
        positions = (2, 3) if self.image else tuple(range(1, x.dim() - 1))
        answers: torch.Tensor = self.answer(x.mean(positions) if positions else x)
        return answers


class Heads(nn.ModuleList):
    """A head for each feature."""

    def forward(
        self, inputs: tuple[torch.Tensor, ...], features: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        """Returns the logits of each head from its own feature; `inputs` is unused."""
        return tuple(head(feature) for head, feature in zip(self, features, strict=True))


class Exits(Imitation):
    """The loss of the whole network and of its heads."""

    def terms(
        self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any
    ) -> dict[str, torch.Tensor]:
        """Adds the task's loss of the whole network to the mean loss of the heads, which learn from it and the labels.

        The whole network's answers are detached here: the heads imitate them and do not pull at them.
        """
        ours = model(*inputs)
        found = {}
        if labels is not None:
            found["task"] = torch.as_tensor(self.response.loss(ours.outputs, labels)).reshape(())
        answers = [detached(ours.outputs)]
        heads = [self.response.terms(head, answers, labels) for head in ours.beside]
        for name in heads[0]:
            mean = torch.stack([terms[name] for terms in heads]).mean()
            found[f"exits' {name}"] = self.weight * mean
        return found


def method(setting: Setting) -> Method:
    """Makes the method; see the head of the module.

    Raises:
        NotApplicable: The network does not return logits, or has no stage to answer from.
    """
    graph = graph_of(setting.student)
    names = pairs.exits(setting.features, graph)
    student = Tapped(setting.student, names, "student")
    if len(student.answers) != 1 or len(student.answers[0]) != 2:
        raise NotApplicable(
            f"mode exits needs a net that answers logits [N, classes]; this one answers {student.answers}"
        )
    classes, width = student.answers[0][1], max(max(shape[1], shape[-1]) for shape in student.shapes)
    heads = Heads(Head(shape, width, classes) for shape in student.shapes)
    return Method(Distiller(student, (), heads), Exits(setting.response(), weight=setting.weight))
