"""The task's calibration data as peers want it: single samples by input name, decoded anew on every pass."""

from collections.abc import Iterator, Sequence

import numpy as np

from edgekit.arrays import as_arrays, to_layout
from edgekit.task import Task


class Samples:
    """Re-iterable: {input name: array [1, ...] in the layout of the file}. One batch is in memory at a time."""

    def __init__(self, task: Task, names: Sequence[str], layout: str) -> None:
        self._task, self._names, self._layout = task, names, layout

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for batch in self._task.calibration or ():
            arrays = as_arrays(batch if isinstance(batch, tuple | list) else (batch,))
            for i in range(len(arrays[0])):
                rows = (np.ascontiguousarray(to_layout(a[i : i + 1], self._layout)) for a in arrays)
                yield dict(zip(self._names, rows, strict=True))
