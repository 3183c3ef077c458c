"""What a model's file takes, as it says itself: asked in a child process, before there is a task."""

from pathlib import Path

from edgekit.device.scratch import Scratch
from edgekit.engine import process
from edgekit.engine.catalogue import TAKES
from edgekit.engine.specs import FileSpec
from edgekit.records import TensorSpec


def takes(path: Path) -> tuple[TensorSpec, ...]:
    """Returns the inputs of an .onnx or .pt2 file, one sample of each.

    Raises:
        TaskError: The file cannot be read, or leaves more free than the number of samples.
    """
    with Scratch() as folder:
        return process.run(TAKES, FileSpec(path=str(path.resolve())), folder)[0].inputs
