"""The names of inputs and outputs in a finished TFLite file: the converter calls them args_0, args_1, ... and output_0, ...

An app addresses tensors by the file's signature; there the user's own names are written.
"""

from collections.abc import Sequence
from pathlib import Path

from ai_edge_litert.tools import flatbuffer_utils

_PREFIXES = ("args_", "output_")


def rename(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Writes the names into the signature of a file, in place.

    Args:
        path: The file.
        inputs: The names, in the order of the program.
        outputs: The names, in the order of the program.
    """
    model = flatbuffer_utils.read_model(str(path))
    (signature,) = model.signatureDefs
    sides = (signature.inputs, inputs), (signature.outputs, outputs)
    for (entries, names), prefix in zip(sides, _PREFIXES, strict=True):
        for entry in entries:
            entry.name = names[int(entry.name.decode().removeprefix(prefix))]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
