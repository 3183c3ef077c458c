"""`predict` of an artifact: called like the torch model, whatever the file's dtype, layout and fixed batch."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from edgekit.arrays import as_arrays, check_shapes, from_layout, to_layout
from edgekit.errors import VerificationError
from edgekit.records import Artifact, TensorSpec


class Session(Protocol):
    """An opened artifact: a backend of the runner, or the Core ML interpreter."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]: ...


class Predictor:
    """Feeds a session sample by sample; takes and returns float32 arrays [N, ...] in the torch model's layout."""

    def __init__(self, session: Session, artifact: Artifact, model_inputs: Sequence[TensorSpec]) -> None:
        self._session = session
        self._artifact = artifact
        self._shapes = [spec.shape for spec in model_inputs]
        self.output_names = [spec.name for spec in artifact.outputs]

    def __call__(self, *inputs: Any) -> Any:
        outputs = self.run(as_arrays(inputs))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """All outputs for a batch of any size, as a list of [N, ...] arrays."""
        check_shapes(arrays, self._shapes)
        rows = [self._one([a[i : i + 1] for a in arrays]) for i in range(len(arrays[0]))]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def feeds(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """One sample as the file wants it: its names, layout and dtype."""
        return {
            spec.name: np.ascontiguousarray(encode(to_layout(array, self._artifact.layout), spec))
            for spec, array in zip(self._artifact.inputs, arrays, strict=True)
        }

    def _one(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        outputs = self._session.run(self.feeds(arrays))
        return [
            from_layout(decode(np.asarray(outputs[spec.name]), spec), self._artifact.layout)
            for spec in self._artifact.outputs
        ]


def encode(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Real values -> the file's dtype: q = clip(round(x / scale) + zero_point)."""
    if spec.scale is None:
        return array.astype(spec.dtype, copy=False)
    limits = np.iinfo(spec.dtype)
    quantized = np.round(array / np.float32(spec.scale)) + (spec.zero_point or 0)
    return np.clip(quantized, limits.min, limits.max).astype(spec.dtype)


def decode(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The file's dtype -> float32: (q - zero_point) * scale. Integers without a scale stay."""
    if spec.scale is not None:
        return (array.astype(np.float32) - (spec.zero_point or 0)) * np.float32(spec.scale)
    if array.dtype.kind not in "fiub":
        raise VerificationError(f"output {spec.name} has dtype {array.dtype}, which no metric can read")
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def usable_cpus() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
