"""The golden file: an .npz with `input_0`, `input_1`, ... and `output_0`, ... in the artifact's order, outputs as real values.

With `float_0`, ..., the float model's answers, and `float_min_snr_db`, what each output must keep to them in decibels (NaN: not
asked). With `steps` the arrays hold so many steps of a stream, one behind the other along their first axis.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit_runner.errors import UserError, first_line

Array = NDArray[Any]
LIMITS = "float_min_snr_db"
STEPS = "steps"
MOST_MEMBERS = 1 << 12
MOST_BYTES = 1 << 32


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Inputs and expected outputs, in the artifact's order.

    Attributes:
        inputs: Arrays of any dtype.
        outputs: Real values.
        floats: The float model's answers, as many as outputs, or none.
        float_min_snr_db: What each output must keep to them; NaN where that was not asked.
        steps_count: How many steps of a stream the arrays hold; 0 is no stream.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    floats: tuple[Array, ...] = ()
    float_min_snr_db: tuple[float, ...] = ()
    steps_count: int = 0


def load(path: str) -> Golden:
    """Reads the .npz.

    Raises:
        UserError: It is none, or its keys do not count up from 0.
    """
    arrays = arrays_of(path)
    inputs, outputs, floats = (_numbered(arrays, name) for name in ("input", "output", "float"))
    limits = tuple(map(float, arrays.get(LIMITS, ())))
    steps = arrays.get(STEPS, np.array(0))
    known = len(inputs) + len(outputs) + len(floats) + (LIMITS in arrays) + (STEPS in arrays)
    if (
        not inputs
        or not outputs
        or known != len(arrays)
        or steps.ndim
        or steps.dtype.kind not in "iu"
        or (STEPS in arrays and steps < 1)
        or not len(floats) == len(limits) in (0, len(outputs))
    ):
        raise UserError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}; allowed: input_0.., output_0.. and, as many as "
            f"outputs, float_0.. with {LIMITS}."
        )
    return Golden(
        inputs=inputs, outputs=outputs, floats=floats, float_min_snr_db=limits, steps_count=int(steps)
    )


def arrays_of(path: str) -> dict[str, Array]:
    """Reads every array of an .npz.

    Raises:
        UserError: It is none, or too large.
    """
    zipfile = _zipfile()
    try:
        _check_sizes(path, zipfile)
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            arrays = {key: archive[key] for key in archive.files}
    except Exception as error:  # a header that is no Python, a stream that ends, an unknown compression: numpy raises anything
        try:
            reason = first_line(error) if Path(path).exists() else "there is no such file"
        except (OSError, ValueError):
            reason = "no file can have this name"
        raise UserError(f"{path} is not a golden .npz: {reason}.") from None
    return arrays


def _check_sizes(path: str, zipfile: ModuleType) -> None:
    """Raises ValueError for an archive that would fill the memory, by what it says of itself, before any of it is unpacked."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"it holds {len(members)} arrays, more than {MOST_MEMBERS}")
    size_bytes = sum(member.file_size for member in members)
    if size_bytes > MOST_BYTES:
        raise ValueError(f"its arrays take {size_bytes} bytes, more than {MOST_BYTES}")


def _zipfile() -> ModuleType:
    """The standard module without the bz2 and lzma that it brings along.

    They are 0.4 MB beside the model, and an .npz needs neither.
    """
    absent = [name for name in ("bz2", "lzma") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        return importlib.import_module("zipfile")
    finally:
        for name in absent:
            del sys.modules[name]


def _numbered(arrays: dict[str, Array], name: str) -> tuple[Array, ...]:
    found: list[Array] = []
    while (key := f"{name}_{len(found)}") in arrays:
        found.append(arrays[key])
    return tuple(found)
