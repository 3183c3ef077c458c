"""One exported target as a bundle takes it: its files checked and copied, its golden answers as plain files beside them."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.arrays import save_arrays
from edgekit.errors import UserError
from edgekit.golden import read
from edgekit.package import image, manifest_file
from edgekit.package.bundle import golden_image, interface_change, measured_file
from edgekit.package.bundle.interface_change import PLAIN, Wishes
from edgekit.records import Artifact
from edgekit.records.bundle import MeasuredTarget
from edgekit.records.manifest import Input, Manifest, Output

NUMBERS = {"float32": "f32", "int32": "i32", "int64": "i64", "uint8": "u8", "bool": "u8"}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One target in the bundle.

    Attributes:
        folder: Its folder in the bundle.
        app_must: What the app has to do itself, "" where nothing.
        golden: The content of golden/golden.json.
        measured: What was measured of it.
    """

    folder: Path
    manifest: Manifest
    app_must: str
    golden: dict[str, Any]
    measured: MeasuredTarget = field(default_factory=MeasuredTarget)

    @property
    def target(self) -> str:
        """The name of the target."""
        return self.manifest.target.name

    @property
    def model(self) -> Path:
        """The file or folder of the model."""
        return self.folder / self.manifest.file.path

    @property
    def has_image(self) -> bool:
        """Whether a photo is a golden input."""
        return "image" in self.golden


def take(source: Path, place: Path, wishes: Wishes = PLAIN) -> Member:
    """Copies one exported target to `place`.

    Args:
        source: A folder with a manifest.
        place: The folder to make.
        wishes: How the file is to meet the app.

    Raises:
        UserError: There is no valid manifest, a link stands in the model, labels do not fit the output, or a wish the file.
        VerificationError: A file is gone or was altered.
    """
    artifact, manifest = manifest_file.artifact_of(source)
    model = source / manifest.file.path
    for path in (model, *(model.rglob("*") if model.is_dir() else ())):
        if path.is_symlink():
            raise UserError(f"{path} is a link; a bundle takes files alone: export again")
    _check_labels(manifest, source)
    place.mkdir(parents=True)
    copy = shutil.copytree if model.is_dir() else shutil.copyfile
    copy(model, place / manifest.file.path)
    shutil.copyfile(source / manifest.golden.path, place / manifest.golden.path)
    manifest, measured = measured_file.split(manifest)
    manifest_file.write(manifest, place)
    artifact = msgspec.structs.replace(artifact, path=str(place / manifest.file.path))
    artifact, manifest = interface_change.changed(place, artifact, manifest, wishes)
    golden = _write_golden(place, artifact, manifest)
    must = _app_must(manifest, golden)
    return Member(folder=place, manifest=manifest, app_must=must, golden=golden, measured=measured)


def _check_labels(manifest: Manifest, source: Path) -> None:
    labels = manifest.preprocessing.labels if manifest.preprocessing else ()
    shapes = [output.shape for output in manifest.signature.outputs]
    if labels and not any(len(labels) in shape for shape in shapes):
        raise UserError(
            f"{source / manifest_file.NAME} has {len(labels)} labels, but its outputs are {', '.join(map(str, shapes))}: give "
            "one label for each class"
        )


def _app_must(manifest: Manifest, golden: Mapping[str, Any]) -> str:
    if "image" in golden:
        return ""
    wanted = "; ".join(f"{i.name}: {i.dtype} {list(i.shape)}" for i in manifest.signature.inputs)
    return f"the app makes the input tensors itself, no preprocessing of an image is known: {wanted}"


def _write_golden(place: Path, artifact: Artifact, manifest: Manifest) -> dict[str, Any]:
    """Writes golden/: little-endian files and golden.json, which names them."""
    folder = place / "golden"
    folder.mkdir()
    pair = read(place / manifest.golden.path)
    arrays = {
        **{f"input_{i}": array for i, array in enumerate(pair.inputs)},
        **{f"output_{i}": array for i, array in enumerate(pair.outputs)},
    }
    _check_pair(arrays, manifest, place)
    found: dict[str, Any] = {"atol": manifest.golden.atol, **_sides(folder, arrays, manifest, "")}
    photo = golden_image.photo_of(arrays, manifest)
    if photo is not None:
        assert manifest.preprocessing is not None
        tensor = image.tensor_of(photo, manifest.preprocessing)
        outputs = golden_image.answers_of(artifact, manifest, {"input_0": tensor})
        save_arrays(folder / "image.npz", {"image": photo, "input_0": tensor, **outputs})
        (folder / "image.u8").write_bytes(photo.tobytes())
        found["image"] = {
            "file": "image.u8",
            "height": photo.shape[0],
            "width": photo.shape[1],
            "channels": photo.shape[2],
            "input_atol": golden_image.level_of(manifest.preprocessing),
            **_sides(folder, {"input_0": tensor, **outputs}, manifest, "image_"),
        }
    text = json.dumps(found, indent=2, sort_keys=True, allow_nan=False) + "\n"
    (folder / "golden.json").write_text(text, encoding="utf-8")
    return found


def _check_pair(arrays: Mapping[str, np.ndarray], manifest: Manifest, place: Path) -> None:
    """Raises UserError where the golden pair lacks an input or an output."""
    signature = manifest.signature
    wanted = {
        **{f"input_{i}": spec.name for i, spec in enumerate(signature.inputs)},
        **{f"output_{i}": spec.name for i, spec in enumerate(signature.outputs)},
    }
    for key, name in wanted.items():
        if key not in arrays:
            raise UserError(f"{manifest.golden.path} of {place.name} holds nothing for {name}; export again")


def _sides(
    folder: Path, arrays: Mapping[str, np.ndarray], manifest: Manifest, prefix: str
) -> dict[str, list[dict[str, Any]]]:
    sides: dict[str, list[dict[str, Any]]] = {}
    signature: dict[str, tuple[Input | Output, ...]] = {
        "input": manifest.signature.inputs,
        "output": manifest.signature.outputs,
    }
    for side, specs in signature.items():
        for i, spec in enumerate(specs):
            array = arrays[f"{side}_{i}"]
            plain = array.astype(np.float32) if array.dtype.kind == "f" else array
            dtype = plain.dtype.name
            if dtype not in NUMBERS:
                raise UserError(
                    f"{spec.name} is {dtype}; plain golden files hold {', '.join(NUMBERS)}: convert it in the model"
                )
            name = f"{prefix}{side}_{i}.{NUMBERS[dtype]}"
            (folder / name).write_bytes(plain.astype(plain.dtype.newbyteorder("<")).tobytes())
            entry = {"name": spec.name, "file": name, "dtype": dtype, "shape": list(plain.shape)}
            sides.setdefault(f"{side}s", []).append(entry)
    return sides
