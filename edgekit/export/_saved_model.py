"""Turns a `.keras` file into a TensorFlow SavedModel, which TensorFlow's converter reads: a child process of its own.

Keras runs on the TensorFlow backend here, so it is chosen before the task file, which may import Keras, is loaded. The
task is loaded because it registers its own layers.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

from pathlib import Path

import torchvision  # noqa: F401  before tensorflow, which crashes the process otherwise

from edgekit.engine.specs import SavedModel, SavedModelSpec
from edgekit.engine.user_code import describe
from edgekit.errors import ConversionError
from edgekit.trace.sources import keras


def make(spec: SavedModelSpec) -> SavedModel:
    """Writes the folder `saved_model` below `work`. Raises ConversionError for a model that TensorFlow cannot rebuild."""
    out = Path(spec.work) / "saved_model"
    try:
        spec.source.load()
        keras.load(Path(spec.keras_file)).export(str(out), format="tf_saved_model", verbose=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever the task's own code and layers raise with another backend
        raise ConversionError(
            f"the Keras model cannot be rebuilt in TensorFlow: {describe(error)}"
        ) from error
    return SavedModel(path=str(out))
