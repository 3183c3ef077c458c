"""Converts a SavedModel to TFLite with TensorFlow's own converter (tf.lite.TFLiteConverter).

    float32   the graph as it is
    float16   weights stored as float16, widened at load; arithmetic is float
    int8      full integer: ranges from the calibration inputs that `ptq_tensorflow` kept, int8 kernels only
              (TFLITE_BUILTINS_INT8), int8 in and out

The converter finds its ranges as minimum and maximum over the inputs, and folds batch norms by itself. The file keeps
the shapes of the SavedModel's signature, with batch 1.
"""

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torchvision  # noqa: F401  before tensorflow, which crashes the process otherwise

# isort: split
import tensorflow as tf

from edgekit.errors import ConversionError
from edgekit.export._tflite_file import artifact
from edgekit.records import Artifact, Candidate
from edgekit.trace.sources import tensorflow as source

if TYPE_CHECKING:
    from edgekit.target import Target

SUFFIX = ".tflite"


def export(candidate: Candidate, target: "Target", out: Path) -> Artifact:
    """Writes `out`. Raises ConversionError where the converter has no kernel for an operator in this precision."""
    precision = candidate.recipe.precision
    loaded, function = source.load(Path(candidate.saved_model))
    concrete = source.fixed(function, source.input_shapes(function))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], loaded)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = _representative(Path(candidate.calibration))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        out.write_bytes(converter.convert())
    except (OSError, MemoryError):
        raise
    except Exception as error:  # ConverterError, ValueError, RuntimeError; the operator is in the text
        raise ConversionError(
            f"TensorFlow's converter cannot express the model in {precision}: {_reason(error)}"
        ) from error
    toolchain = {"tensorflow": tf.__version__, "ai-edge-litert": version("ai-edge-litert")}
    return artifact(out, precision, "as the model", toolchain)


def _representative(path: Path) -> Callable[[], Iterator[list[np.ndarray]]]:
    """The kept calibration inputs, one sample at a time."""

    def samples() -> Iterator[list[np.ndarray]]:
        with np.load(path, allow_pickle=False) as kept:
            arrays = [kept[f"input_{i}"] for i in range(len(kept.files))]
        for index in range(len(arrays[0])):
            yield [array[index : index + 1] for array in arrays]

    return samples


def _reason(error: Any) -> str:
    """The line that names an operator, else the first one."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "op" in line.lower() and "error" in line.lower()]
    return (named or lines or [type(error).__name__])[0][:400]
