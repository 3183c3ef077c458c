"""What a training makes small: the task's own loss, or the distance to a teacher.

Distillation (Hinton et al. 2015, arXiv:1503.02531): the student learns the whole distribution softmax(z / T) of a
teacher's logits z and not only the right class. The divergence is multiplied by T^2, so that the size of its
gradient, and with it the meaning of `alpha`, stays about the same for any temperature T. Outputs that are no logits of several classes are
compared by their squared distance, in units of the teacher's own variance.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class TaskLoss:
    """The task's loss of the model's outputs."""

    def __init__(self, loss: Callable[[Any, Any], Any]) -> None:
        self.loss = loss

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any) -> torch.Tensor:
        return torch.as_tensor(self.loss(model(*inputs), labels)).reshape(())


class Distillation:
    """alpha * the task's loss + (1 - alpha) * the distance to the teacher, which takes no gradients."""

    def __init__(
        self, teacher: nn.Module, loss: Callable[[Any, Any], Any], alpha: float, temperature: float
    ) -> None:
        self.teacher, self.loss = teacher.eval().requires_grad_(False), loss
        self.alpha, self.temperature = alpha, temperature

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any) -> torch.Tensor:
        outputs = model(*inputs)
        task = torch.as_tensor(self.loss(outputs, labels)).reshape(()) if self.alpha else 0.0
        if self.alpha == 1:
            return torch.as_tensor(task)
        with torch.no_grad():
            answers = self.teacher.to(inputs[0].device)(*inputs)
        return self.alpha * task + (1 - self.alpha) * self._distance(outputs, answers)

    def _distance(self, outputs: Any, answers: Any) -> torch.Tensor:
        """The mean over all float outputs."""
        ours, theirs = (
            value if isinstance(value, tuple | list) else (value,) for value in (outputs, answers)
        )
        pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if b.is_floating_point()]
        return torch.stack([distance(a, b, self.temperature) for a, b in pairs]).mean()


def distance(outputs: torch.Tensor, answers: torch.Tensor, temperature: float) -> torch.Tensor:
    """Of logits [N, C, ...] the divergence over C, else the squared distance."""
    if outputs.dim() < 2 or outputs.shape[1] < 2:
        return F.mse_loss(outputs, answers) / answers.var(unbiased=False).clamp_min(1e-12)
    ours = F.log_softmax(outputs.float() / temperature, 1)
    theirs = F.log_softmax(answers.float() / temperature, 1)
    return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1).mean() * temperature**2
