"""The operations of the MIL documentation, one family per file. Each file ends in a literal table `OPS`.

An operation is a function whose parameters carry the names of the documentation. The annotation of a
parameter says what it is given: `Tensor` and `list[Tensor]` take values of the program, everything else
(int, float, bool, str, list[int]) takes a plain Python value. A parameter without a default is required; an
argument in the file that no parameter takes is an error, so that an option is never ignored. Floating
tensors are float32 whatever their type in the program; rounding to float16 is the interpreter's work.

Every operation in a table has a test against torch: add both together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekit.verify.mil.ops import (
    compressed,
    conv,
    elementwise,
    indexing,
    linear,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    shape,
)

FAMILIES = (
    compressed,
    conv,
    elementwise,
    indexing,
    linear,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    shape,
)


def supported() -> dict[str, Callable[..., Any]]:
    """Maps the type of every operation that can be executed to its function."""
    return {name: function for family in FAMILIES for name, function in family.OPS.items()}
