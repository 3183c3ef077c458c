"""The task's metric, scored on whatever answers as the model does; the same samples for every artifact."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from edgekit.engine.user_code import describe
from edgekit.errors import TaskError
from edgekit.task import Task

METRIC_SEED = 0


def seed_everything(seed: int) -> None:
    """Seeds the random generators of Python, NumPy and torch."""
    import random

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def score(task: Task, predict: Callable[..., Any]) -> float:
    """Computes the task's metric of `predict`.

    It draws the same random numbers each time, whatever was drawn before, so that it samples the same for every artifact.

    Args:
        task: The task.
        predict: Answers as the model does, for any batch size.

    Raises:
        TaskError: The metric raises, or returns anything but a finite number.
    """
    seed_everything(METRIC_SEED)
    try:
        value = task.metric(predict)
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"the metric of task {task.name!r} raised {describe(error)}") from error
    if isinstance(value, np.ndarray | torch.Tensor) and np.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TaskError(
            f"the metric of task {task.name!r} returned a {type(value).__name__}; it must return a float"
        )
    try:
        value = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        value = math.inf
    if not math.isfinite(value):
        raise TaskError(
            f"the metric of task {task.name!r} returned {value}; it must be a finite number, higher is better"
        )
    return value
