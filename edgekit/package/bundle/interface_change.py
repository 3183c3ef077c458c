"""How a file meets the app, changed when it is packaged, and the proof that it answers as the exported one.

The exported file stands beside it: a photo and noise go through both, each time as the file takes it, and every answer is held
to the golden tolerance.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from edgekit_runner.artifact import sha256

from edgekit.arrays import save_arrays
from edgekit.device.scratch import Scratch
from edgekit.engine import process
from edgekit.engine.catalogue import INTERFACE
from edgekit.engine.specs import InterfaceSpec
from edgekit.errors import UserError, VerificationError
from edgekit.golden import read
from edgekit.package import image, manifest_file
from edgekit.package.bundle import golden_image
from edgekit.package.manifest_content import described_input
from edgekit.records import Artifact, Preprocessing, TensorSpec
from edgekit.records.manifest import Manifest, Output

Numbers = Literal["", "float32", "uint8", "int8"]
LABEL = TensorSpec(name="classLabel", shape=(), dtype="int64", batch_axis=None)
PROBABILITIES = TensorSpec(name="classLabel_probs", shape=(-1,), dtype="float32", batch_axis=None)
NOISE = 3
CLASS_ATOL = 2e-3  # of a probability, in float16


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What an app wants of the files.

    Attributes:
        image: An ONNX file or a Core ML package takes an image and normalises it.
        classifier: A Core ML package gives the label and the probabilities by label.
        numbers: What an int8 TFLite file takes and gives; "" as it was exported.
    """

    image: bool = False
    classifier: bool = False
    numbers: Numbers = ""

    def of(self, kind: str) -> "Wishes":
        """What of it concerns a format."""
        return Wishes(
            image=self.image and kind in ("onnx", "coreml"),
            classifier=self.classifier and kind == "coreml",
            numbers=self.numbers if kind == "tflite" else "",
        )

    @property
    def words(self) -> tuple[str, ...]:
        """As in the manifest."""
        given = ("image" if self.image else "", "classifier" if self.classifier else "", self.numbers)
        return tuple(filter(None, given))


PLAIN = Wishes()


def changed(place: Path, artifact: Artifact, manifest: Manifest, wishes: Wishes) -> tuple[Artifact, Manifest]:
    """Changes the file in `place` and its golden pair, and proves it.

    Args:
        place: The target's folder in the bundle.
        artifact: The file there.
        manifest: What the export says of it.
        wishes: Of the whole bundle.

    Returns:
        The file as it is now, and its manifest, which is written too.

    Raises:
        UserError: A wish does not fit the file.
        VerificationError: The new file answers otherwise.
    """
    wishes = wishes.of(artifact.format)
    if not wishes.words:
        return artifact, manifest
    photos = _photos(place, manifest) if wishes.image else []
    labels = manifest.preprocessing.labels if manifest.preprocessing else ()
    if wishes.classifier and (not labels or len(set(labels)) < len(labels)):
        raise UserError(
            f"--classifier: {manifest.target.name} has {len(labels)} labels, which must be there and differ; give Preprocessing(labels=...)"
        )
    with Scratch() as work:
        old = msgspec.structs.replace(artifact, path=str(work / Path(artifact.path).name))
        copy = shutil.copytree if Path(artifact.path).is_dir() else shutil.copyfile
        copy(artifact.path, old.path)
        spec = InterfaceSpec(
            artifact=artifact,
            preprocessing=manifest.preprocessing if wishes.image else None,
            classes=labels if wishes.classifier else (),
            numbers=wishes.numbers,
        )
        new, _ = process.run(
            INTERFACE, spec, work / "stage", label=f"app interface of {manifest.target.name}"
        )
        made = _manifest_of(new, manifest, wishes)
        before, after = (
            _rows(photos, each) if photos else _golden(place, manifest) for each in (manifest, made)
        )
        got = _prove(old, new, manifest, before, after, wishes)
    if photos:
        first = {name: array[:1] for name, array in {**after, **got}.items()}
        save_arrays(place / manifest.golden.path, first)
        golden = msgspec.structs.replace(made.golden, sha256=sha256(place / manifest.golden.path))
        made = msgspec.structs.replace(made, golden=golden)
    manifest_file.write(made, place)
    return new, made


def _golden(place: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    pair = read(place / manifest.golden.path)
    return {f"input_{i}": array for i, array in enumerate(pair.inputs)}


def _photos(place: Path, manifest: Manifest) -> list[np.ndarray]:
    """The golden image in the size of the model, and noise."""
    photo = golden_image.photo_of(_golden(place, manifest), manifest)
    if photo is None:
        raise UserError(
            f"--image-input: {manifest.target.name} has no preprocessing of one image with one or three colours; give "
            "Preprocessing(...) in the task, or leave the option out"
        )
    asked = manifest.preprocessing
    assert asked is not None
    first = image.cropped(image.resized(photo, asked), asked)
    rng = np.random.default_rng(0)
    return [first, *rng.integers(0, 256, (NOISE, *first.shape), np.uint8)]


def _rows(photos: list[np.ndarray], manifest: Manifest) -> dict[str, np.ndarray]:
    """The photos, one a row, as a file takes them."""
    assert manifest.preprocessing is not None
    fitting = msgspec.structs.replace(manifest.preprocessing, resize=None, crop=None)
    return {"input_0": np.concatenate([image.tensor_of(photo, fitting) for photo in photos])}


def _prove(
    old: Artifact, new: Artifact, manifest: Manifest, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], wishes: Wishes,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Holds the answers of the new file to those of the old one; returns them."""
    wanted = golden_image.answers_of(old, manifest, before)
    asked = (
        msgspec.structs.replace(new, outputs=(*new.outputs, LABEL, PROBABILITIES))
        if wishes.classifier
        else new
    )
    got = golden_image.answers_of(asked, manifest, after)
    worst = max(float(np.abs(answer - got[name]).max()) for name, answer in wanted.items())
    if not worst <= manifest.golden.atol:
        raise VerificationError(
            f"{manifest.target.name} with {', '.join(wishes.words)} answers otherwise: off by {worst:.4g}, allowed are {manifest.golden.atol:.4g}; "
            "leave the option out"
        )
    if wishes.classifier:
        _prove_classes(got, new, manifest)
    return {name: got[name] for name in wanted}


def _prove_classes(got: Mapping[str, np.ndarray], new: Artifact, manifest: Manifest) -> None:
    """Labels and probabilities are those of the scores, in every row."""
    count = len(new.outputs)
    labels, shares = got[f"output_{count}"].reshape(-1), got[f"output_{count + 1}"]
    shares = shares.reshape(len(labels), -1)
    scores = [got[f"output_{i}"] for i, spec in enumerate(new.outputs) if spec.shape == (1, shares.shape[1])]
    powers = [np.exp(each - each.max(1, keepdims=True)) for each in scores]
    known = [*scores, *(each / each.sum(1, keepdims=True) for each in powers)]
    near = any(np.abs(shares - each).max() <= CLASS_ATOL for each in known)
    if not near or (shares[np.arange(len(labels)), labels.astype(int)] < shares.max(1)).any():
        raise VerificationError(f"{manifest.target.name} as a classifier gives other classes than its scores")


def _manifest_of(new: Artifact, manifest: Manifest, wishes: Wishes) -> Manifest:
    asked = _asked(manifest.preprocessing, new, wishes)
    labels = {output.name: output.labels for output in manifest.signature.outputs}
    outputs = [Output(**msgspec.structs.asdict(spec), labels=labels[spec.name]) for spec in new.outputs]
    inputs = tuple(described_input(spec, asked) for spec in new.inputs)
    file = msgspec.structs.replace(
        manifest.file, bytes=new.size_bytes, sha256=new.sha256, compressed_bytes=new.compressed_bytes
    )
    return msgspec.structs.replace(
        manifest,
        model=msgspec.structs.replace(manifest.model, content_version=new.sha256),
        artifacts=tuple(file if each == manifest.file else each for each in manifest.artifacts),
        signature=msgspec.structs.replace(manifest.signature, inputs=inputs, outputs=tuple(outputs)),
        preprocessing=asked,
        app_interface=wishes.words,
    )


def _asked(preprocessing: Preprocessing | None, new: Artifact, wishes: Wishes) -> Preprocessing | None:
    """What is left for the app: size, and for Core ML nothing else either, whose image buffers know their colours."""
    if preprocessing is None or not wishes.image:
        return preprocessing
    plain = msgspec.structs.replace(preprocessing, mean=(0.0,), std=(1.0,), scale=1.0)
    if new.format == "coreml":
        return msgspec.structs.replace(plain, layout="NCHW")
    return msgspec.structs.replace(plain, layout="NHWC", color_order="RGB")
