"""What the trace stage knows of a float model, whatever framework runs it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from edgekit.records import Macs, TensorSpec


class Subject(NamedTuple):
    """call: a whole batch of arrays -> the model's answers. program: the exported program, "" where there is none.

    tensorflow: the `.keras` file or the SavedModel that TensorFlow's converter can start from, "" where there is none.
    content: what the model is -> a hash. macs: None where nothing can be counted.
    """

    call: Callable[..., list[np.ndarray]]
    outputs: tuple[TensorSpec, ...]
    program: str
    tensorflow: str
    parameters: int
    weights: int
    content: dict[str, str]
    macs: Macs | None = None
    doubts: tuple[str, ...] = ()
