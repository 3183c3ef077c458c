"""Changes what a finished file takes from an app and gives it, when it is packaged; the weights stay as they were proven.

    an image      ONNX: uint8 [N, H, W, C] in, normalised by the first nodes; Core ML: an image in, normalised in the program
    a class       Core ML: its label and the probabilities by label, beside the scores
    numbers       TFLite: float32, uint8 or int8 inputs and outputs of an int8 file

Who asks proves the new file against the old one.
"""

from pathlib import Path

import msgspec
import numpy as np
from edgekit_runner.artifact import describe

from edgekit.engine.specs import InterfaceSpec
from edgekit.export._app_layouts import permuted
from edgekit.export._compressed import compressed
from edgekit.records import Artifact, Preprocessing, TensorSpec


def change(spec: InterfaceSpec) -> Artifact:
    """Rewrites the artifact in place and returns what it is now.

    Raises:
        ConversionError: The file cannot be what was asked for; the sentence says why.
    """
    artifact, path = spec.artifact, Path(spec.artifact.path)
    inputs, outputs = artifact.inputs, artifact.outputs
    if spec.preprocessing is not None:
        inputs = (_with_image(artifact, spec.preprocessing), *inputs[1:])
    if spec.classes:
        from edgekit.export import _coreml_classes

        _coreml_classes.add(path, outputs, spec.classes)
    if spec.numbers:
        from edgekit.export import _tflite_numbers

        inputs, outputs = _tflite_numbers.change(path, spec.numbers, inputs, outputs)
    info = describe(path, artifact.format)
    return msgspec.structs.replace(
        artifact, inputs=inputs, outputs=outputs, size_bytes=info.size_bytes, sha256=info.sha256, compressed_bytes=compressed(path),
    )  # fmt: skip


def _with_image(artifact: Artifact, preprocessing: Preprocessing) -> TensorSpec:
    """The first input as an image: of bytes in an ONNX file, of an image buffer, whose numbers are float32, in Core ML."""
    path, spec = Path(artifact.path), artifact.inputs[0]
    channels = spec.shape[1 if preprocessing.layout == "NCHW" else 3]
    if artifact.format == "onnx":
        from edgekit.export import _onnx_image

        _onnx_image.take(path, spec, preprocessing, *affine(preprocessing, channels))
        shape = permuted(spec.shape, preprocessing.layout, "NHWC")
        return msgspec.structs.replace(spec, shape=shape, dtype="uint8", scale=1.0, zero_point=0)
    from edgekit.export import _coreml_image

    shape = permuted(spec.shape, preprocessing.layout, "NCHW")
    _coreml_image.take(path, spec, shape, preprocessing, *affine(preprocessing, channels))
    return msgspec.structs.replace(spec, shape=shape, dtype="float32")


def affine(preprocessing: Preprocessing, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The normalisation of a pixel as float32 factor and summand [C]."""
    mean, std = (
        np.broadcast_to(np.array(v, np.float64), (channels,)) for v in (preprocessing.mean, preprocessing.std)
    )
    return (preprocessing.scale / std).astype(np.float32), (-mean / std).astype(np.float32)
