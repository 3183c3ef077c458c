"""bundle.json: written canonically, read as something that a stranger may have written, and every file held to it."""

import hashlib
from pathlib import Path

import msgspec

from edgekit.package.bundle import listed, measured_file, signing
from edgekit.records.bundle import Bundle
from edgekit.records.manifest import Manifest
from edgekit.records.record_file import Words, canonical, read_record

SCHEMA_VERSION = 1
NAME = "bundle.json"
WORDS = Words("a bundle", "give a folder that `edgekit package` wrote", "package again")


def write(bundle: Bundle, folder: Path) -> None:
    """Writes canonical text."""
    (folder / NAME).write_text(canonical(bundle), encoding="utf-8")


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle.json."""
    return (folder / NAME).is_file()


def read(folder: Path) -> Bundle:
    """Reads the bundle.json in `folder`.

    Raises:
        UserError: There is none, it is not JSON, of another schema version, or not what a bundle holds.
    """
    return read_record(folder / NAME, Bundle, SCHEMA_VERSION, WORDS)


def check_bundle(folder: Path, key: Path | None = None) -> Bundle:
    """Holds every file of a bundle to bundle.json, and that to its signature where a key is given.

    Raises:
        UserError: There is no valid bundle.json, or the key is none.
        VerificationError: The signature is missing or wrong, a path leaves the folder, or a file is missing, altered, a link,
            or not in the list.
    """
    public = signing.public_key(key) if key is not None else None
    bundle = read(folder)
    if public is not None:
        signing.check_signature(folder / NAME, public)
        if (folder / measured_file.NAME).exists():
            signing.check_signature(folder / measured_file.NAME, public)
    for file in bundle.files:
        listed.check_file(folder, file, NAME)
    own = (NAME, measured_file.NAME)
    known = {*own, *(name + signing.SUFFIX for name in own), *(file.path for file in bundle.files)}
    listed.refuse_unlisted(folder, known, NAME)
    measured_file.read(folder, folder / NAME)
    return bundle


def interface_of(manifest: Manifest) -> str:
    """The hash of what an app's code depends on: two files with one interface may replace each other in an app."""
    served = manifest.target
    parts = (
        manifest.signature, manifest.preprocessing, manifest.file.format, served.runtime, served.min_runtime,
        served.min_ios, served.min_android_sdk,
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
