"""Golden pairs: one real input of the metric and what the proven artifact answered."""

from pathlib import Path

import numpy as np

# Kernels of other CPUs round differently: a golden output may move by this share of its largest magnitude.
TOLERANCE_RATIO = {"int8": 0.05, "float16": 0.01, "float32": 0.001}


def golden_atol(golden: Path, precision: str) -> float:
    """The tolerance of a golden pair in the unit of its outputs."""
    with np.load(golden, allow_pickle=False) as pair:
        largest = max(float(np.abs(pair[key]).max()) for key in pair.files if key.startswith("output_"))
    return TOLERANCE_RATIO[precision] * largest + 1e-6
