"""Calibration inputs, kept in a file for a converter that finds its own ranges."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.errors import TaskError
from edgekit.quant import calibrate

if TYPE_CHECKING:
    from edgekit.task import Task


def keep(task: "Task", like: tuple[torch.Tensor, ...], limit: int, path: Path) -> int:
    """Writes the first inputs of the task's calibration batches as input_0, input_1, ... of an .npz.

    Args:
        task: The task.
        like: Tensors in the shape and type of the model's inputs.
        limit: How many samples to keep, at most.
        path: The file.

    Returns:
        How many samples were kept.

    Raises:
        TaskError: There are no calibration batches, or they do not fit.
    """
    kept: list[tuple[np.ndarray, ...]] = []
    left = limit
    for number, batch in enumerate(calibrate.yielded(task.calibration or ())):
        pieces = list(islice(calibrate.pieces(batch, like, number), left))
        kept += [tuple(t.numpy().copy() for t in piece) for piece in pieces]
        left -= len(pieces)
        if not left:
            break
    if not kept:
        raise TaskError(calibrate.NO_BATCH)
    arrays = {f"input_{i}": np.concatenate(column) for i, column in enumerate(zip(*kept, strict=True))}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return len(kept)
