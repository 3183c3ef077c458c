"""An artifact as a predict function: called like the torch model, whatever the file's dtype, layout and fixed batch."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from edgekit.arrays import as_arrays, check_shapes, from_layout, from_model, to_layout, to_model
from edgekit.errors import VerificationError
from edgekit.records import Artifact, TensorSpec
from edgekit.trace.structure import shapes


class Session(Protocol):
    """An opened artifact: a backend of the runner, or the Core ML interpreter."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Answers one sample: input name -> array in the file's layout and dtype, to output name -> array."""


class Predictor:
    """Feeds a session sample by sample; takes and returns float32 arrays [N, ...] in the torch model's layout.

    Args:
        session: The opened artifact.
        artifact: Its record, with the dtypes, grids and layout of the file.
        model_inputs: The inputs of the torch model, in the order of its arguments.
    """

    def __init__(self, session: Session, artifact: Artifact, model_inputs: Sequence[TensorSpec]) -> None:
        self._session = session
        self._artifact = artifact
        self._shapes = shapes(model_inputs)
        self.output_names = [spec.name for spec in artifact.outputs]
        self.output_free = [
            {int(axis) for axis in spec.free} if spec.batch_axis == 0 else set(range(len(spec.shape) + 1))
            for spec in artifact.outputs
        ]

    def __call__(self, *inputs: Any) -> Any:
        """Answers as the torch model does: one array, or a tuple of arrays where there are several outputs."""
        outputs = self.run(as_arrays(inputs))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs a batch of any size.

        Args:
            arrays: One [N, ...] array for each input of the model.

        Returns:
            One float32 [N, ...] array for each output.
        """
        check_shapes(arrays, self._shapes)
        rows = [self._one([a[i : i + 1] for a in arrays]) for i in range(len(arrays[0]))]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def feeds(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """One sample under the names, and in the layout and dtype, that the file expects."""
        return {
            spec.name: self._filed(to_model(array, spec.batch_axis), spec)
            for spec, array in zip(self._artifact.inputs, arrays, strict=True)
        }

    def as_stored(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs one sample in the shapes of the file, real values in and out; several, where samples are first."""
        specs = self._artifact.inputs
        if any(a.shape != spec.shape for a, spec in zip(arrays, specs, strict=True)):
            return self.run(arrays)
        found = self._session.run({s.name: self._filed(a, s) for a, s in zip(arrays, specs, strict=True)})
        return [decode(np.asarray(found[spec.name]), spec) for spec in self._artifact.outputs]

    def _filed(self, array: np.ndarray, spec: TensorSpec) -> np.ndarray:
        filed = encode(to_layout(array, self._artifact.layout), spec)
        return np.asarray(filed, order="C")  # ascontiguousarray gives a number an axis

    def _one(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        outputs = self._session.run(self.feeds(arrays))
        return [
            from_model(
                from_layout(decode(np.asarray(outputs[spec.name]), spec), self._artifact.layout),
                spec.batch_axis,
            )
            for spec in self._artifact.outputs
        ]


def encode(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Turns real values into the file's dtype: q = clip(round(x / scale) + zero_point)."""
    if spec.scale is None:
        return array.astype(spec.dtype, copy=False)
    limits = np.iinfo(spec.dtype)
    quantized = np.round(array / np.float32(spec.scale)) + (spec.zero_point or 0)
    return np.clip(quantized, limits.min, limits.max).astype(spec.dtype)


def decode(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Turns the file's dtype into float32: (q - zero_point) * scale. Integers without a scale stay as they are."""
    if spec.scale is not None:
        return (array.astype(np.float32) - (spec.zero_point or 0)) * np.float32(spec.scale)
    if array.dtype.kind not in "fiub":
        raise VerificationError(f"output {spec.name} has dtype {array.dtype}, which no metric can read")
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def usable_cpus() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
