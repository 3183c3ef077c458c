"""Palettes: each layer stores a table of a few values and, for each weight, an index of 2 to 8 bits into it.

k-means chooses the values (`edgekit.sparse.palette`; Han et al. 2015, "Deep Compression", arXiv:1510.00149).
Batch norms are folded in first, because folding multiplies each channel by another number and would undo the
table. Arithmetic stays float.

What it means for each format:
- Core ML: stored as tables and indices (`constexpr_lut_to_dense`), bits / 16 of the size of a float16 file;
  runtimes decompress when they load, or weight by weight. One table for each `group` output channels needs
  iOS 18.
- ONNX, TFLite: the file holds every weight in full. Only its download is smaller: see the compressed sizes of
  the artifact.

Zeros that `sparsify` made stay, and take one of the values. Cost: seconds, no data. Loss: with 8 and 6 bits
almost none, with 4 bits some points if one table serves a whole layer, with 2 bits most of the accuracy
without training.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta
from torch import Tensor

from edgekit.records import Candidate, Settings
from edgekit.sparse.layers import Ignore, Keep
from edgekit.sparse.palette import palettized
from edgekit.techniques._few_values import Rewrite, rewritten

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task


class Options(Settings):
    """How large the tables are, and how many weights share one."""

    bits: Annotated[Literal[2, 4, 6, 8], Meta(description="bits of an index; a table has 2^bits values")] = 6
    group: Annotated[
        int, Meta(ge=0, description="output channels that share a table; 0 = all of a layer")
    ] = 0
    ignore: Ignore = ""
    keep: Keep = "none"

    def table(self, weight: Tensor) -> Tensor:
        """Replaces a weight by the values of its tables."""
        return palettized(weight, self.bits, self.group)


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Writes the program with few values in each layer to program.pt2 in the work folder.

    Raises:
        UserError: A name is not a layer.
        NotApplicable: No layer is large enough.
    """
    return rewritten(candidate, task, options, context, Rewrite("palettize", "palette", options.table))
