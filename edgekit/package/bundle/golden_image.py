"""The golden image: a photo that becomes nearly the golden input, and what the artifact answers to it in its runtime."""

import math
from collections.abc import Mapping

import numpy as np

from edgekit.arrays import save_arrays
from edgekit.device.scratch import Scratch
from edgekit.engine import process
from edgekit.engine.catalogue import ANSWER
from edgekit.engine.verify_specs import AnswerSpec
from edgekit.errors import UserError
from edgekit.package import image, manifest_file
from edgekit.records import Artifact, Preprocessing
from edgekit.records.manifest import Manifest

BORDER = 3  # pixels around a picture whose centre is cut out


def level_of(preprocessing: Preprocessing) -> float:
    """What one level of a pixel is in the tensor: how far another implementation may be off."""
    return preprocessing.scale / min(map(abs, preprocessing.std)) * 1.001


def photo_of(arrays: Mapping[str, np.ndarray], manifest: Manifest) -> np.ndarray | None:
    """An image that the preprocessing turns into nearly the golden input; larger where something is resized or cut."""
    asked, inputs = manifest.preprocessing, manifest.signature.inputs
    if asked is None or len(inputs) != 1 or inputs[0].layout not in ("NCHW", "NHWC"):
        return None
    channels = inputs[0].shape[1 if asked.layout == "NCHW" else 3]
    if channels not in (1, 3) or {len(asked.mean), len(asked.std)} - {1, channels}:
        return None
    photo = image.image_of(arrays["input_0"], asked)
    if asked.resize is not None:
        photo = photo.repeat(2, 0).repeat(2, 1)
    elif asked.crop is not None:
        photo = np.pad(photo, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="edge")
    made = image.tensor_of(photo, asked)
    if made.shape != tuple(inputs[0].shape):
        raise UserError(
            f"preprocessing makes a tensor of {list(made.shape)}, but {inputs[0].name} is {list(inputs[0].shape)}; correct "
            "resize and crop in the task and export again"
        )
    return photo


def answers_of(
    artifact: Artifact, manifest: Manifest, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Runs an artifact in its runtime.

    Args:
        artifact: The file.
        manifest: Where it runs.
        arrays: input_i, in the layout and the real values of the file.

    Returns:
        output_i.

    Raises:
        UserError: The answer is not finite.
    """
    with Scratch() as work:
        inputs, outputs = work / "inputs.npz", work / "outputs.npz"
        save_arrays(inputs, arrays)
        spec = AnswerSpec(
            artifact=artifact,
            runtime=manifest.target.runtime,
            inputs=str(inputs),
            outputs=str(outputs),
            exact=manifest_file.is_exact_here(manifest),
        )
        process.run(ANSWER, spec, work, label=f"golden image of {manifest.target.name}")
        with np.load(outputs, allow_pickle=False) as found:
            answers = {key: found[key] for key in found.files}
    if not all(math.isfinite(float(array.sum())) for array in answers.values()):
        raise UserError(f"{manifest.target.name} answers its golden image with NaN or infinity; export again")
    return answers
