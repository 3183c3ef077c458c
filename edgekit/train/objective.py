"""What a training minimizes: the task's own loss, or the distance to teachers.

Distillation (Hinton et al. 2015, arXiv:1503.02531): the student learns the whole distribution softmax(z / T)
of a teacher's logits z and not only the right class. The divergence is multiplied by T^2, so that the size of
its gradient, and with it the meaning of `alpha`, is about the same for any temperature T. Outputs that are
not logits of several classes are compared by their squared distance, relative to the teacher's own variance.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F


class TaskLoss:
    """The task's loss on the model's outputs."""

    def __init__(self, loss: Callable[[Any, Any], Any]) -> None:
        self.loss = loss

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any) -> torch.Tensor:
        """Returns the loss of one batch, a scalar."""
        return torch.as_tensor(self.loss(model(*inputs), labels)).reshape(())


class InPrecision:
    """A loss in the arithmetic of the training: by accelerate's autocast, where it asks for half precision.

    Args:
        objective: The loss.
        accelerator: What knows the precision.
    """

    def __init__(self, objective: Callable[..., torch.Tensor], accelerator: Accelerator) -> None:
        self._objective, self._accelerator = objective, accelerator

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any) -> torch.Tensor:
        """Returns the loss of one batch, a scalar."""
        with self._accelerator.autocast():
            return self._objective(model, inputs, labels)


class Distillation:
    """alpha * hard targets + (1 - alpha) * the mean distance to the teachers, which get no gradients.

    Hard targets are the labels, by the task's loss. Without labels (None) they are the teachers' own answers,
    for samples where the teachers' confidence is at least `pseudo`.

    Args:
        teachers: The loop shards them as it does the model.
        loss: The task's loss.
        alpha: The weight of hard targets.
        temperature: What softens the teachers' answers.
        pseudo: The least confidence of a hard target without a label; 0 = none.
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module],
        loss: Callable[[Any, Any], Any],
        alpha: float,
        temperature: float,
        pseudo: float = 0.0,
    ) -> None:
        self.teachers = [teacher.eval().requires_grad_(False) for teacher in teachers]
        self.loss, self.alpha, self.temperature, self.pseudo = loss, alpha, temperature, pseudo

    def __call__(self, model: nn.Module, inputs: tuple[torch.Tensor, ...], labels: Any) -> torch.Tensor:
        """Returns the loss of one batch, a scalar; with alpha 1 no teacher is asked."""
        outputs = model(*inputs)
        answers = self.ask(inputs) if self.alpha < 1 else []
        return total(self.terms(outputs, answers, labels))

    @torch.no_grad()
    def ask(self, inputs: tuple[torch.Tensor, ...]) -> list[Any]:
        """Returns the outputs of each teacher."""
        return [teacher.to(inputs[0].device)(*inputs) for teacher in self.teachers]

    def terms(self, outputs: Any, answers: Sequence[Any], labels: Any) -> dict[str, torch.Tensor]:
        """Returns the weighted parts of the loss by name: "task" or "pseudo", and "teacher".

        Args:
            outputs: What the student answers.
            answers: What each teacher answers.
            labels: The labels, or None.
        """
        found = {}
        if self.alpha and labels is not None:
            task = torch.as_tensor(self.loss(outputs, labels)).reshape(())
            found["task"] = self.alpha * task
        elif self.alpha and self.pseudo:
            found["pseudo"] = self.alpha * confident(outputs, answers, self.pseudo)
        if self.alpha < 1:
            apart = torch.stack([divergence(outputs, a, self.temperature) for a in answers]).mean()
            found["teacher"] = (1 - self.alpha) * apart
        return found


def total(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns the sum of a loss's parts."""
    first, *more = terms.values()
    return sum(more, start=first)


def floats(outputs: Any) -> list[torch.Tensor]:
    """Returns the float tensors among a model's outputs, which are one tensor or a tuple."""
    values = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return [value for value in values if value.is_floating_point()]


def divergence(outputs: Any, answers: Any, temperature: float) -> torch.Tensor:
    """Returns the mean distance over all float outputs."""
    pairs = zip(floats(outputs), floats(answers), strict=True)
    return torch.stack([distance(ours, theirs, temperature) for ours, theirs in pairs]).mean()


def distance(outputs: torch.Tensor, answers: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns the divergence over C for logits [N, C, ...], else the relative squared distance."""
    if outputs.dim() < 2 or outputs.shape[1] < 2:
        return F.mse_loss(outputs, answers) / answers.var(unbiased=False).clamp_min(1e-12)
    ours = F.log_softmax(outputs.float() / temperature, 1)
    theirs = F.log_softmax(answers.float() / temperature, 1)
    return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1).mean() * temperature**2


def confident(outputs: Any, answers: Sequence[Any], least: float) -> torch.Tensor:
    """Returns the cross entropy with the class that the teachers choose, where they are confident enough.

    The class is that of the highest mean probability; samples where it is below `least` count as zero. Only
    the first output, logits [N, C, ...], is looked at. Lee 2013, "Pseudo-Label"; the threshold is that of
    Sohn et al. 2020 (arXiv:2001.07685).
    """
    logits = floats(outputs)[0].float()
    believed = torch.stack([F.softmax(floats(a)[0].float(), 1) for a in answers]).mean(0)
    sure, named = believed.max(1)
    return (F.cross_entropy(logits, named, reduction="none") * (sure >= least)).mean()
