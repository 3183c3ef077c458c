"""The program of a file whose axes are chosen with every call, for the formats that have such files."""

import torch

from edgekit.errors import ConversionError
from edgekit.quant.freeing import freed
from edgekit.records import FreeAxes


def loosened(
    program: torch.export.ExportedProgram, free: FreeAxes | None
) -> tuple[torch.export.ExportedProgram | None, tuple[str, ...]]:
    """Frees the axes of a program.

    Returns:
        The program, None where all axes stay fixed (`settled` is for these); and a sentence that says why, where nobody asked for
        free ones.

    Raises:
        ConversionError: The task asks for an axis that cannot be free.
    """
    if free is None:
        return None, ()
    try:
        if free.reason:
            raise ConversionError(free.reason)
        return freed(program, free), ()
    except ConversionError as error:
        if not all(axis.default for axis in free.axes):
            raise
        return None, (f"the file takes one sample at a time: {error}",)
