"""The task's own metric of a graph that runs in torch, before anything is exported."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule

from edgekit.arrays import as_arrays
from edgekit.quant.batched import widened
from edgekit.quant.trainable import OneByOne
from edgekit.records import Interface
from edgekit.task import Task
from edgekit.trace.flat import FlatTask
from edgekit.trace.metric import score
from edgekit.trace.structure import in_rows, one_by_one
from edgekit.train.history import Trained


def predictor(
    run: Callable[..., Any], at_once: int = 1, interface: Interface | None = None
) -> Callable[..., Any]:
    """Returns a predict function as the metric expects it: of samples in rows.

    Args:
        run: The model.
        at_once: How many samples it is given at a time.
        interface: Where the samples of its inputs and outputs are; first in all, where nothing is said. Those that have them
            elsewhere, or not at all, are asked for one sample at a time.
    """

    @torch.no_grad()
    def predict(*inputs: Any) -> Any:
        arrays = [torch.from_numpy(np.ascontiguousarray(a)) for a in as_arrays(inputs)]
        starts = range(0, len(arrays[0]), at_once)
        rows = [run(*(a[start : start + at_once] for a in arrays)) for start in starts]
        columns = zip(*(row if isinstance(row, tuple | list) else (row,) for row in rows), strict=True)
        outputs = [torch.cat(column).numpy() for column in columns]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    if interface is None or all(axis == 0 for axis in (*interface.input_axes, *interface.output_axes)):
        return predict
    rows = one_by_one(in_rows(partial(_answers, run), interface.input_axes, interface.output_axes))

    def predict_each(*inputs: Any) -> Any:
        outputs = rows(*as_arrays(inputs))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return predict_each


@torch.no_grad()
def _answers(run: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    answer = run(*(torch.from_numpy(array) for array in arrays))
    return [each.numpy() for each in (answer if isinstance(answer, tuple | list) else (answer,))]


def scored(task: Task, run: Callable[..., Any], at_once: int = 1) -> float:
    """Returns the task's own metric of what runs as the flat program does."""
    return score(task, predictor(run, at_once, task.interface if isinstance(task, FlatTask) else None))


def metric_of(task: Task, model: GraphModule | OneByOne) -> float:
    """Returns the task's own metric of a graph."""
    if isinstance(model, OneByOne):
        return scored(task, model)
    module, at_once = widened(model)
    return scored(task, module.eval(), at_once)


def figures_of(trained: Trained) -> dict[str, tuple[float, str]]:
    """Returns what a training did, as the figures of a step."""
    return {
        "images trained": (trained.images, "count"),
        "steps": (trained.steps, "count"),
        "learning rate": (trained.learning_rate, ""),
        "loss at first": (trained.checks[0].loss, ""),
        "loss at last": (trained.checks[-1].loss, ""),
    }
