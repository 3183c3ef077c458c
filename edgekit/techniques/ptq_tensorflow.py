"""Post-training quantization by TensorFlow's own converter, for a Keras model or a SavedModel.

The method is that of `ptq`: integers, with ranges from calibration inputs. Here the converter does all of it
(`edgekit.export._tflite_tensorflow`): minimum and maximum as ranges, batch norms folded, per-channel weights.
It is another way to the same file format, worth a try where edgekit's own conversion of a Keras model fails
on a layer, and the only way for a SavedModel. TensorFlow guide "Post-training integer quantization".

This step keeps the calibration inputs for the converter. Cost: `samples` float inferences inside the
converter, without XNNPACK: slower than `ptq` for large networks. No bias correction, no choice of ranges.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import torch
from msgspec import Meta

from edgekit.errors import NotApplicable
from edgekit.records import Candidate, Figure, Settings
from edgekit.techniques._kept_inputs import keep

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task


class Options(Settings):
    """How many inputs the converter calibrates with."""

    samples: Annotated[int, Meta(ge=1, description="calibration inputs to use, at most")] = 200


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Writes calibration.npz to the work folder.

    Raises:
        NotApplicable: The model is neither a Keras model nor a SavedModel.
        TaskError: There are no calibration batches, or they do not fit.
    """
    if not candidate.saved_model:
        raise NotApplicable(
            "ptq_tensorflow needs a Keras model or a SavedModel; this task's model is neither"
        )
    inputs = [torch.as_tensor(example) for example in task.example_inputs]
    like = tuple(t.float() if t.is_floating_point() else t for t in inputs)
    path = Path(context.work) / "calibration.npz"
    kept = keep(task, like, options.samples, path)
    figure = Figure(step="ptq_tensorflow", name="calibration inputs", value=float(kept), unit="count")
    return msgspec.structs.replace(candidate, calibration=str(path), figures=(*candidate.figures, figure))
