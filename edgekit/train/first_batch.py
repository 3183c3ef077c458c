"""One forward pass before the first step: whether the model and the loss can take the task's training data."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from edgekit.engine.user_code import describe
from edgekit.errors import TaskError
from edgekit.task import Training
from edgekit.train.data import Batch, check_again


def check(model: nn.Module, training: Training, batch: Batch) -> None:
    """Makes one forward pass before the first step.

    Raises:
        TaskError: The model or the loss cannot take the batch; the message says what was given and what is
            expected.
    """
    check_again(training.batches, "batches")
    was_training = model.training
    try:
        with torch.no_grad():
            outputs = model.eval()(*batch.inputs)
    except Exception as error:
        given = ", ".join(f"{list(x.shape)} {str(x.dtype).removeprefix('torch.')}" for x in batch.inputs)
        raise TaskError(
            f"the model cannot take the inputs of training batch 0 ({given}): {describe(error)}"
        ) from error
    finally:
        model.train(was_training)
    check_labels(outputs, batch.labels)
    _check_loss(training.loss, outputs, batch.labels)


def check_labels(outputs: Any, labels: Any) -> None:
    """Checks the labels of a classifier: integers [N] that name one of the columns of outputs [N, classes].

    Raises:
        TaskError: A label names no column.
    """
    if not (isinstance(outputs, torch.Tensor) and isinstance(labels, torch.Tensor)):
        return
    if outputs.dim() < 2 or labels.dim() != 1 or labels.is_floating_point() or outputs.shape[1] < 2:
        return
    low, high, classes = int(labels.min()), int(labels.max()), outputs.shape[1]
    if low < 0 or high >= classes:
        raise TaskError(
            f"training labels are {low} to {high}; the model has {classes} outputs, so that 0 to {classes - 1} are "
            "allowed. Give labels of these classes, or a model with more outputs"
        )


def _check_loss(loss: Callable[[Any, Any], Any], outputs: Any, labels: Any) -> None:
    def shape(value: Any) -> str:
        tensors = [v for v in pytree.tree_leaves(value) if isinstance(v, torch.Tensor)]
        return (
            ", ".join(f"{list(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors)
            or type(value).__name__
        )

    given = f"outputs {shape(outputs)} and labels {shape(labels)}"
    try:
        value = loss(outputs, labels)
    except Exception as error:
        raise TaskError(f"the task's training loss, given {given}, raised {describe(error)}") from error
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        found = (
            f"a tensor {list(value.shape)}"
            if isinstance(value, torch.Tensor)
            else f"a {type(value).__name__}"
        )
        raise TaskError(
            f"the task's training loss returned {found} for {given}; it must return one number, the mean"
        )
