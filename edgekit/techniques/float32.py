"""The untouched model: the last recipe of every ladder, and what the others are compared with.

Cost: none.
"""

from typing import TYPE_CHECKING

import msgspec

from edgekit.records import Candidate, Figure, Settings

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task


class Options(Settings):
    """float32 has no options."""


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Returns the candidate with its precision noted."""
    figure = Figure(step="float32", name="bits per weight", value=32.0, unit="bit")
    return msgspec.structs.replace(candidate, quant=None, figures=(*candidate.figures, figure))
