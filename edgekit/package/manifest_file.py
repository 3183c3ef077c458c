"""manifest.json, as a file: what an app build reads beside each artifact.

Canonical (sorted keys), hashes and units in the names. Paths are relative to the folder of the manifest, so that
the folder can be copied anywhere.
"""

from pathlib import Path

from edgekit_runner.artifact import sha256
from edgekit_runner.host.environment import local_isa
from edgekit_runner.host.isa import int8_saturates

from edgekit.errors import UserError, VerificationError
from edgekit.formats import check_format, check_runtime
from edgekit.records import Artifact, TensorSpec
from edgekit.records.foreign import visible
from edgekit.records.manifest import Input, Manifest, Output
from edgekit.records.record_file import Words, canonical, read_record

SCHEMA_VERSION = 2
NAME = "manifest.json"
WORDS = Words("a manifest", "give a target's folder that `edgekit export` wrote", "export again")
GOLDEN = "golden.npz"
STREAM = "stream.npz"  # several steps of a model with a state


def write(manifest: Manifest, folder: Path) -> None:
    """Writes canonical text, so that two exports of the same thing are identical. Raises ValueError for NaN and infinity."""
    (folder / NAME).write_text(canonical(manifest), encoding="utf-8")


def read(folder: Path) -> Manifest:
    """Reads the manifest in `folder`.

    Raises:
        UserError: There is none, it is not JSON, of another schema version, or not what a manifest holds.
    """
    path = folder / NAME
    manifest = read_record(path, Manifest, SCHEMA_VERSION, WORDS)
    try:
        for name in _runtimes(manifest):
            check_runtime(name)
        for file in manifest.artifacts:
            check_format(file.format)
    except ValueError as error:
        raise UserError(f"{path} does not hold {WORDS.holds}: {error}; {WORDS.again}") from error
    return manifest


def _runtimes(manifest: Manifest) -> list[str]:
    """Every runtime that a manifest names."""
    choice = manifest.runtimes
    more = [choice.fastest, *(trial.runtime for trial in choice.trials)] if choice else []
    return [manifest.target.runtime, *more]


def artifact_of(folder: Path) -> tuple[Artifact, Manifest]:
    """Gives the artifact that a manifest describes, its checksums proven, and the manifest.

    Raises:
        UserError: There is no valid manifest.
        VerificationError: A file is gone or was altered.
    """
    manifest = read(folder)
    for name, expected in (
        (manifest.file.path, manifest.file.sha256),
        (manifest.golden.path, manifest.golden.sha256),
    ):
        check_file(folder, name, expected)
    if not (folder / manifest.golden.path).is_file():
        raise UserError(f"{folder / manifest.golden.path} is a folder; a golden pair is a file: export again")
    return _artifact(manifest, folder), manifest


def _artifact(manifest: Manifest, folder: Path) -> Artifact:
    file = manifest.file
    precision = manifest.compression.recipe.precision if file.precision == "mixed" else file.precision
    return Artifact(
        path=str(folder / file.path),
        format=file.format,
        precision=precision,
        size_bytes=file.bytes,
        compressed_bytes=file.compressed_bytes,
        sha256=file.sha256,
        layout="as the model",
        toolchain=manifest.toolchain,
        inputs=tuple(_tensor(spec) for spec in manifest.signature.inputs),
        outputs=tuple(_tensor(spec) for spec in manifest.signature.outputs),
        free=manifest.signature.axes,
        state=manifest.signature.state,
    )


def _tensor(spec: Input | Output) -> TensorSpec:
    return TensorSpec(**{name: getattr(spec, name) for name in TensorSpec.__struct_fields__})


def is_exact_here(manifest: Manifest) -> bool:
    """Whether the file is run without fused kernels here: those of this machine saturate in int8, and the target's do not."""
    return manifest.golden.exact and int8_saturates(local_isa())


def check_file(folder: Path, name: str, expected: str) -> None:
    """Raises VerificationError if a file of the manifest is gone, outside the folder, or altered."""
    try:
        path = (folder / name).resolve()
        inside = name.isprintable() and path.is_relative_to(folder.resolve())
        there = inside and path.exists()
    except (OSError, RuntimeError, ValueError):  # a circle of links, a name that no file can have
        inside = there = False
    if not inside:
        raise VerificationError(f"{folder / NAME} points outside its folder: {visible(name[:200])}")
    if not there:
        raise VerificationError(f"{folder / name} is missing; export again")
    found = sha256(path)
    if found != expected:
        raise VerificationError(
            f"{folder / name} was altered after export: its sha256 is {found[:16]}..., the manifest says {str(expected)[:16]}..."
        )


def target_folders(place: Path) -> list[Path]:
    """Finds the folders with a manifest: `place` itself, or those of every target in it. Raises UserError if there is none."""
    if not place.exists():
        raise UserError(f"{place} does not exist; give a folder that `edgekit export` wrote")
    if (place / NAME).is_file():
        return [place]
    found = sorted(path.parent for path in place.glob(f"*/{NAME}")) if place.is_dir() else []
    if not found:
        raise UserError(
            f"{place} holds no accepted artifact (no {NAME}); give a folder that `edgekit export` wrote"
        )
    return found
