"""Golden answers: one real input of the metric, what the proven artifact answered, and what the float model did.

The artifact's own answer tells whether a device computes the file as it was computed here, within a tolerance for
kernels that round differently. Float's answer tells whether the file is right at all: the artifact must stay as near to
it as it was when it was proven.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from edgekit_runner.errors import RunnerError
from edgekit_runner.golden import archive
from edgekit_runner.stats.deviation import snr_db as snr_db

from edgekit.arrays import save_arrays, to_layout, to_model
from edgekit.errors import UserError, VerificationError
from edgekit.records import Artifact, Record, Traced

# Kernels of other CPUs round differently: a golden output may move by this share of its largest magnitude.
FLOAT_MARGIN_DB = 3.0  # another machine's rounding may cost this much of the distance to float
FLOAT_CAP_DB = 40.0  # no file is asked for more
TOLERANCE_RATIO = {"int8": 0.05, "float16": 0.01, "float32": 0.001}


class Golden(Record):
    """A golden file, and the tolerance in the unit of its outputs."""

    path: str
    atol: float


def write_golden(
    path: Path,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    layout: str,
    floats: Sequence[np.ndarray] = (),
    steps: int = 0,
) -> None:
    """Writes a golden pair as the file takes and gives it: its layout, real values.

    The arrays are input_i, output_i and float_i; float_min_snr_db is what each output must keep to float, in dB, NaN where
    that is not asked.

    Args:
        path: The file to write.
        inputs: One array per input, in the model's own layout.
        outputs: What the artifact answered.
        layout: The layout of the file.
        floats: What the float model answered, if that is to be kept too.
        steps: How many steps of a stream lie behind each other along the first axis; 0 is no stream.
    """
    sides = {"input": inputs, "output": outputs, "float": floats}
    named = {
        f"{side}_{i}": np.asarray(to_layout(a, layout), order="C")
        for side, arrays in sides.items()
        for i, a in enumerate(arrays)
    }
    if floats:
        limits = [_least_db(a, b) for a, b in zip(floats, outputs, strict=True)]
        named["float_min_snr_db"] = np.array(limits, np.float64)
    if steps:
        named["steps"] = np.array(steps)
    save_arrays(path, named)


def _least_db(reference: np.ndarray, got: np.ndarray) -> float:
    """Returns what the pair must keep elsewhere; NaN for indices and the like, which are not judged this way."""
    return (
        math.nan
        if reference.dtype.kind != "f"
        else min(snr_db(reference, got) - FLOAT_MARGIN_DB, FLOAT_CAP_DB)
    )


def of_float(traced: Traced, artifact: Artifact, path: Path) -> Golden:
    """Writes the pair that a float file must reproduce: a sample of the metric and the torch model's own answer."""
    with np.load(traced.samples_file, allow_pickle=False) as kept:
        inputs, outputs = (
            [to_model(kept[f"{side}_{i}"][:1], spec.batch_axis) for i, spec in enumerate(specs)]
            for side, specs in (("input", traced.inputs), ("output", traced.outputs))
        )
    write_golden(path, inputs, outputs, artifact.layout)
    return Golden(path=str(path), atol=golden_atol(path, artifact.precision))


def golden_atol(golden: Path, precision: str) -> float:
    """Returns the tolerance of a golden pair in the unit of its outputs."""
    largest = max(float(np.abs(output).max()) for output in read(golden).outputs)
    return TOLERANCE_RATIO[precision] * largest + 1e-6


def raise_unless_same(golden: Path, other: Path, precision: str) -> None:
    """Holds what one file answered elsewhere to its golden pair, as a device or `verify` will.

    Args:
        golden: The pair that is kept.
        other: The same inputs, answered by another runtime.
        precision: That of the file.

    Raises:
        VerificationError: An output differs by more than the tolerance.
    """
    kept, found = read(golden), read(other)
    pairs = zip(kept.outputs, found.outputs, strict=True)
    worst = float(np.max([np.abs(a.astype(np.float64) - b).max() for a, b in pairs]))  # keeps a NaN
    allowed = golden_atol(golden, precision)
    if not worst <= allowed:
        raise VerificationError(
            f"its answer differs from the golden one by {worst:.4g}; allowed is {allowed:.4g}"
        )


def read(path: Path) -> archive.Golden:
    """Reads a golden file that a stranger may have written. Raises UserError where it is none, or would fill the memory."""
    try:
        return archive.load(str(path))
    except RunnerError as error:
        raise UserError(str(error)) from error
