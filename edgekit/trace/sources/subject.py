"""What the trace stage knows of a float model, whatever framework runs it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from edgekit.records import Interface, Macs, TensorSpec


class Subject(NamedTuple):
    """What the trace stage knows of a float model.

    Attributes:
        call: Maps a whole batch of arrays to the model's answers.
        inputs: The inputs of the model.
        outputs: The outputs as the artifact declares them.
        program: The exported program, "" where there is none.
        tensorflow: The `.keras` file or the SavedModel that TensorFlow's converter can start from, "" where there is none.
        parameters: How many parameters the model has.
        weights: How many numbers are in the weight tensors that the program uses.
        content: What the model consists of -> a hash.
        macs: Its multiply-accumulates, None where they cannot be counted.
        doubts: Sentences about the model.
        interface: The names and structures of its arguments and results; None where they are plain.
    """

    call: Callable[..., list[np.ndarray]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    program: str
    tensorflow: str
    parameters: int
    weights: int
    content: dict[str, str]
    macs: Macs | None = None
    doubts: tuple[str, ...] = ()
    interface: Interface | None = None
