"""Post-training quantization of every operator, also of those that `ptq` leaves in float.

The method is that of `ptq`: integers, with ranges from calibration inputs. `ptq` rounds where it gains: layers and what
lies between them. Attention, layer norms and what else computes in float there is rounded here too, because NPUs, DSPs
and microcontrollers often have no float at all. The exporter does it to the finished float file
(`edgekit.export._tflite_integers`): each operator of the file is quantized, ranges are smallest and largest value.

With activations of 8 bits norms and softmax lose much: their intermediate values span orders of magnitude. With
activation_bits = 16 (weights stay 8 bits, "int16x8") a step is 256 times finer. Four small transformer nets with random
weights keep 26 to 34 dB to float with 8 bits, 35 to 46 dB with 16; kernels for 16 bits are slower and rarer.

Cost: `samples` float inferences with every tensor kept. No bias correction, no choice of ranges. LiteRT documentation,
"Post-training integer quantization with int16 activations".
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from edgekit.errors import UserError
from edgekit.quant import program as programs
from edgekit.records import Candidate, Figure, Settings
from edgekit.techniques._kept_inputs import keep

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task


class Options(Settings):
    """How wide activations are, and how many inputs give their ranges."""

    activation_bits: Annotated[
        Literal[8, 16], Meta(description="bits of activations; weights have 8 in either case")
    ] = 8
    samples: Annotated[int, Meta(ge=1, description="calibration inputs to use, at most")] = 200


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Writes calibration.npz to the work folder.

    Raises:
        UserError: The target's format is not TFLite.
        TaskError: There are no calibration batches, or they do not fit.
    """
    target = context.target
    if target is not None and target.format != "tflite":
        raise UserError(
            f"full_integer writes TFLite files; target {target.name} has the format {target.format}, use ptq"
        )
    path = Path(context.work) / "calibration.npz"
    like = programs.user_inputs(programs.load(candidate.program))
    kept = keep(task, like, options.samples, path)
    figure = Figure(step="full_integer", name="calibration inputs", value=float(kept), unit="count")
    return msgspec.structs.replace(
        candidate,
        calibration=str(path),
        activation_bits=options.activation_bits,
        figures=(*candidate.figures, figure),
    )
