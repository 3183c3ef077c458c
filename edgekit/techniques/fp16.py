"""Half precision: half the size for almost no loss.

This step only marks it; the exporter of the format does the work. float16 has 11 significant bits and ends at
65504. Rounding the weights costs about 3e-4 relative; what can break is an activation above 65504, which
becomes infinite, so the artifact is executed and judged (`edgekit.verify`).

What it means for each format:
- Core ML: weights, activations and arithmetic in float16, which the Neural Engine runs. Faster, half the
  size.
- ONNX: weights stored as float16, cast to float32 when the file is loaded. Half the size, float speed:
  onnxruntime's x86 and ARM kernels compute in float32.
- TFLite: weights stored as float16 and converted to float32 when loaded, or used directly by a GPU delegate.
  Half the size.

Micikevicius et al. 2018, "Mixed Precision Training" (arXiv:1710.03740), on the range. Cost: none here.
"""

from typing import TYPE_CHECKING

import msgspec

from edgekit.records import Candidate, Figure, Settings

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task


class Options(Settings):
    """fp16 has no options."""


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Returns the candidate with its precision noted; its program stays float32."""
    figure = Figure(step="fp16", name="bits per weight", value=16.0, unit="bit")
    return msgspec.structs.replace(candidate, quant=None, figures=(*candidate.figures, figure))
