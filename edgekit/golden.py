"""Golden pairs: one real input of the metric and what the proven artifact answered."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.arrays import save_arrays, to_layout
from edgekit.records import Artifact, Record, Traced

# Kernels of other CPUs round differently: a golden output may move by this share of its largest magnitude.
TOLERANCE_RATIO = {"int8": 0.05, "float16": 0.01, "float32": 0.001}


class Golden(Record):
    """A golden file, and the tolerance in the unit of its outputs."""

    path: str
    atol: float


def write_golden(
    path: Path, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], layout: str
) -> None:
    """input_i and output_i as the file takes and gives them: its layout, real values."""
    sides = {"input": inputs, "output": outputs}
    named = {f"{side}_{i}": a for side, arrays in sides.items() for i, a in enumerate(arrays)}
    save_arrays(path, {key: np.ascontiguousarray(to_layout(array, layout)) for key, array in named.items()})


def of_float(traced: Traced, artifact: Artifact, path: Path) -> Golden:
    """The pair that a float file must reproduce: a sample of the metric and the torch model's own answer."""
    with np.load(traced.samples_file, allow_pickle=False) as kept:
        inputs, outputs = (
            [kept[k][:1] for k in sorted(kept.files) if k.startswith(s)] for s in ("input_", "output_")
        )
    write_golden(path, inputs, outputs, artifact.layout)
    return Golden(path=str(path), atol=golden_atol(path, artifact.precision))


def golden_atol(golden: Path, precision: str) -> float:
    """The tolerance of a golden pair in the unit of its outputs."""
    with np.load(golden, allow_pickle=False) as pair:
        largest = max(float(np.abs(pair[key]).max()) for key in pair.files if key.startswith("output_"))
    return TOLERANCE_RATIO[precision] * largest + 1e-6
