"""Weights as integers of 8 or 4 bits, arithmetic in float: a smaller file that computes as before.

Each weight is an integer times a scale: one scale for each output channel, or, with `block`, one for so many of its input
channels, which 4 bits need (Dettmers & Zettlemoyer 2023, "The case for 4-bit precision", arXiv:2212.09720). There is
nothing to calibrate and nothing about activations can go wrong; batch norms are folded in first, because folding multiplies
each channel by another number and would undo the grid. A layer whose input channels are no whole blocks is stored with 8 bits
and a scale for each output channel.

What it means for each format:
- Core ML: stored as integers and scales (`constexpr_affine_dequantize`, from iOS 18 on `constexpr_blockwise_shift_scale`),
  8 bits half of a float16 file, 4 bits a quarter and a scale of 16 bits for each block; runtimes unpack when they load, or
  weight by weight. 4 bits need iOS 18.
- ONNX, TFLite: the file holds every weight in full. Only its download is smaller; `ptq` is the way to a small file there.

Cost: seconds, no data. Loss: with 8 bits almost none; with 4 bits more than a palette of 4 bits, whose values need not be
equally far from each other, and the smallest depthwise layers lose most.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta
from torch import Tensor

from edgekit.records import Candidate, Settings
from edgekit.sparse import grid
from edgekit.sparse.layers import Ignore, Keep
from edgekit.techniques._few_values import Rewrite, rewritten

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

WHOLE_CHANNEL = 8  # bits where the input channels are no whole blocks


class Options(Settings):
    """How fine the integers are, and how many weights share a scale."""

    bits: Annotated[Literal[4, 8], Meta(description="bits of a weight")] = 8
    block: Annotated[
        int, Meta(ge=0, description="input channels that share a scale; 0 = all of an output channel")
    ] = 0
    ignore: Ignore = ""
    keep: Keep = "none"

    def on_grid(self, weight: Tensor) -> Tensor:
        """Rounds a weight."""
        if grid.divides(weight, self.block):
            return grid.rounded(weight, self.bits, self.block)
        return grid.rounded(weight, WHOLE_CHANNEL, 0)


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Writes the program with its weights on grids to program.pt2 in the work folder.

    Raises:
        UserError: A name is not a layer.
        NotApplicable: No layer is large enough.
    """
    return rewritten(candidate, task, options, context, Rewrite("weight_only", "grid", options.on_grid))
