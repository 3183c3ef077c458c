"""What the trace stage knows of a float model, whatever framework runs it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from edgekit.records import FreeAxes, Interface, LayerCost, Macs, TensorSpec


class Subject(NamedTuple):
    """What the trace stage knows of a float model.

    Attributes:
        call: Maps a whole batch of arrays to the model's answers.
        inputs: The inputs of the model.
        outputs: The outputs as the artifact declares them.
        program: The exported program, "" where there is none.
        tensorflow: The `.keras` file or the SavedModel that TensorFlow's converter can start from, "" where there is none.
        onnx: The user's own ONNX graph, "" where there is none.
        operators: The kinds of its operators.
        parameters: How many parameters the model has.
        weights: How many numbers are in the weight tensors that the program uses.
        content: What the model consists of -> a hash.
        macs: Its multiply-accumulates, None where they cannot be counted.
        layers: What multiplies and adds, in the order of the program.
        doubts: Sentences about the model.
        interface: The names and structures of its arguments and results; None where they are plain.
        free: The axes that are free; None where none are asked for.
        code: The files that the model's classes are written in, as a hash; "" where they are not known.
        ask: Maps tensors, in the shapes that the model takes, to its answers; None where only arrays can be asked.
    """

    call: Callable[..., list[np.ndarray]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    program: str
    tensorflow: str
    parameters: int
    weights: int
    content: dict[str, str]
    onnx: str = ""
    operators: tuple[str, ...] = ()
    macs: Macs | None = None
    layers: tuple[LayerCost, ...] = ()
    doubts: tuple[str, ...] = ()
    interface: Interface | None = None
    free: FreeAxes | None = None
    ask: Callable[..., Sequence[torch.Tensor]] | None = None
    code: str = ""
