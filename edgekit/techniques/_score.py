"""The task's own metric of a graph that runs in torch, before anything is exported."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule

from edgekit.arrays import as_arrays
from edgekit.quant.batched import widened
from edgekit.quant.trainable import OneByOne
from edgekit.task import Task
from edgekit.trace.metric import score
from edgekit.train.history import Trained


def predictor(run: Callable[..., Any], at_once: int = 1) -> Callable[..., Any]:
    """Returns a predict function as the metric expects it.

    Args:
        run: The model.
        at_once: How many samples it is given at a time.
    """

    @torch.no_grad()
    def predict(*inputs: Any) -> Any:
        arrays = [torch.from_numpy(np.ascontiguousarray(a)) for a in as_arrays(inputs)]
        starts = range(0, len(arrays[0]), at_once)
        rows = [run(*(a[start : start + at_once] for a in arrays)) for start in starts]
        columns = zip(*(row if isinstance(row, tuple | list) else (row,) for row in rows), strict=True)
        outputs = [torch.cat(column).numpy() for column in columns]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return predict


def metric_of(task: Task, model: GraphModule | OneByOne) -> float:
    """Returns the task's own metric of a graph."""
    if isinstance(model, OneByOne):
        return score(task, predictor(model, 1))
    module, at_once = widened(model)
    return score(task, predictor(module.eval(), at_once))


def figures_of(trained: Trained) -> dict[str, tuple[float, str]]:
    """Returns what a training did, as the figures of a step."""
    return {
        "images trained": (trained.images, "count"),
        "steps": (trained.steps, "count"),
        "learning rate": (trained.learning_rate, ""),
        "loss at first": (trained.checks[0].loss, ""),
        "loss at last": (trained.checks[-1].loss, ""),
    }
