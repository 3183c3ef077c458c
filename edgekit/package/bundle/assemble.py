"""Makes a bundle of an export: all names and keys are checked first, and the folder appears whole or not at all."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgekit.engine.output import is_free
from edgekit.engine.workspace import replacement
from edgekit.errors import UserError
from edgekit.package import manifest_file
from edgekit.package.bundle import android, bundle_file, ios, javascript, listed, measured_file, signing
from edgekit.package.bundle.bom import bom_of
from edgekit.package.bundle.interface_change import PLAIN, Wishes
from edgekit.package.bundle.member import Member, take
from edgekit.package.bundle.naming import Names
from edgekit.package.sums import check_whole
from edgekit.records.bundle import Bundle, BundleTarget, MeasuredTarget

BOM = "bom.cdx.json"
OPTIONS = {"image": "--image-input is for ONNX and Core ML", "classifier": "--classifier is for Core ML"}
TARGETS, FILES = "targets", "files"


def assemble(
    source: Path,
    names: Names,
    ecosystems: Sequence[str],
    out: Path,
    key: Path | None = None,
    previous: Path | None = None,
    wishes: Wishes = PLAIN,
) -> Bundle:
    """Packages an export.

    Args:
        source: A folder that `edgekit export` wrote, or one target's folder of it.
        names: What it is called.
        ecosystems: Of `naming.ECOSYSTEMS`.
        out: The folder to write.
        key: The private key that signs.
        previous: The bundle that it follows.
        wishes: How the files are to meet the app.

    Raises:
        UserError: Something given is wrong, or the version exists with other content.
        VerificationError: A file of the export or of the previous bundle was altered.
        MissingRuntime: A tool or package that was asked for is not installed.
    """
    signer = signing.private_key(key) if key else None
    folders = manifest_file.target_folders(source)
    for folder in folders:
        check_whole(folder)
    if "android" in ecosystems:
        android.check_tools()
    before = bundle_file.read(previous) if previous else None
    with replacement(out, _present) as partial:
        trusted = signing.raw_public(signer) if signer else b""
        made, measured = _fill(partial, folders, names, ecosystems, trusted, wishes)
        made = msgspec.structs.replace(made, previous=before.version if before else "")
        for other, where in ((before, previous), (_present(out), out)):
            _refuse_two_contents(made, other, where)
        bundle_file.write(made, partial)
        beside = measured_file.write(measured, partial, partial / bundle_file.NAME)
        if signer is not None:
            for path in (partial / bundle_file.NAME, beside):
                signing.sign(path, signer)
    return made


def _fill(
    partial: Path, folders: Sequence[Path], names: Names, ecosystems: Sequence[str], trusted: bytes, wishes: Wishes,
) -> tuple[Bundle, dict[str, MeasuredTarget]]:  # fmt: skip
    """Writes all of a bundle but its list, bundle.json, and returns that and what was measured."""
    members = [take(folder, partial / TARGETS / folder.resolve().name, wishes) for folder in folders]
    _check_wishes(wishes, members)
    _write_ecosystems(members, names, ecosystems, partial, trusted)
    bom = json.dumps(bom_of(members, names), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (partial / BOM).write_text(bom, encoding="utf-8")
    _address_by_content(partial)
    made = Bundle(
        schema_version=bundle_file.SCHEMA_VERSION,
        name=names.name,
        version=names.version,
        license=names.license,
        ecosystems=tuple(sorted(ecosystems)),
        targets=tuple(_target(member, partial) for member in members),
        files=listed.files_of(partial),
    )
    return made, {member.folder.name: member.measured for member in members}


def _present(out: Path) -> Bundle | None:
    """The bundle that stands where the new one goes. Raises UserError where something else stands there."""
    if is_free(out):
        return None
    if not bundle_file.is_bundle(out):
        raise UserError(f"output folder {out} exists and is no bundle; give another -o or empty it")
    return bundle_file.read(out)


def _refuse_two_contents(made: Bundle, other: Bundle | None, where: Path | None) -> None:
    if other is None:
        return
    if other.name == made.name and other.version == made.version and content_of(other) != content_of(made):
        raise UserError(
            f"{where} is {made.name} {made.version} already, with other content; one version has one content: give a higher "
            "--version"
        )


def content_of(bundle: Bundle) -> dict[str, str]:
    """What the models of a bundle are: target -> hash."""
    return {target.name: target.content_version for target in bundle.targets}


def _check_wishes(wishes: Wishes, members: Sequence[Member]) -> None:
    """Raises UserError where a wish concerns none of the targets."""
    served = {word for member in members for word in wishes.of(member.manifest.file.format).words}
    for word in set(wishes.words) - served:
        formats = ", ".join(sorted({member.manifest.file.format for member in members}))
        raise UserError(
            f"{OPTIONS.get(word, f'--tflite-numbers {word}')}: none of the targets has such a file, only {formats}; leave it out"
        )


def _write_ecosystems(
    members: Sequence[Member], names: Names, ecosystems: Sequence[str], out: Path, trusted: bytes
) -> None:
    if "android" in ecosystems:
        android.write(members, names, out / "android", trusted)
    if "ios" in ecosystems:
        ios.write(members, names, out / "ios")
    if "react-native" in ecosystems:
        javascript.write_react_native(members, names, out / "react-native", trusted)
    if "web" in ecosystems:
        javascript.write_web(members, names, out / "web", trusted)


def _target(member: Member, root: Path) -> BundleTarget:
    return BundleTarget(
        name=member.target,
        format=member.manifest.file.format,
        runtime=member.manifest.target.runtime,
        content_version=member.manifest.model.content_version,
        manifest=(member.folder / manifest_file.NAME).relative_to(root).as_posix(),
        interface=bundle_file.interface_of(member.manifest),
        app_must=member.app_must,
    )


def _address_by_content(root: Path) -> None:
    """Copies every file of the targets to files/<sha256>: an app that updates over the air asks for hashes."""
    (root / FILES).mkdir()
    for path in sorted((root / TARGETS).rglob("*")):
        if path.is_file():
            shutil.copyfile(path, root / FILES / listed.sha256_of(path))


def summary(bundle: Bundle) -> dict[str, object]:
    """The bundle without its list of files, as plain data."""
    plain: dict[str, object] = msgspec.to_builtins(bundle)
    plain["files"] = len(bundle.files)
    return plain
