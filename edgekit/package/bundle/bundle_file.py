"""bundle.json: written canonically, read as something that a stranger may have written, and every file held to it."""

import hashlib
import json
from pathlib import Path, PurePosixPath

import msgspec

from edgekit.errors import UserError, VerificationError
from edgekit.package.bundle import signing
from edgekit.records.bundle import Bundle, BundleFile
from edgekit.records.foreign import read_json

SCHEMA_VERSION = 1
NAME = "bundle.json"
CHUNK_BYTES = 1 << 20


def write(bundle: Bundle, folder: Path) -> None:
    """Writes canonical text: sorted keys, no NaN."""
    plain = msgspec.to_builtins(bundle)
    text = json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / NAME).write_text(text, encoding="utf-8")


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle.json."""
    return (folder / NAME).is_file()


def read(folder: Path) -> Bundle:
    """Reads the bundle.json in `folder`.

    Raises:
        UserError: There is none, it is not JSON, of another schema version, or not what a bundle holds.
    """
    path = folder / NAME
    try:
        data = read_json(path)
    except OSError as error:
        raise UserError(
            f"{folder} holds no readable {NAME}; give a folder that `edgekit package` wrote"
        ) from error
    given = data.get("schema_version") if isinstance(data, dict) else None
    if given != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema_version {given!r}; this edgekit reads {SCHEMA_VERSION}; package again"
        )
    try:
        return msgspec.convert(data, Bundle)
    except msgspec.ValidationError as error:
        raise UserError(f"{path} is incomplete: {error}; package again") from error


def check_bundle(folder: Path, key: Path | None = None) -> Bundle:
    """Holds every file of a bundle to bundle.json, and that to its signature where a key is given.

    Raises:
        UserError: There is no valid bundle.json, or the key is none.
        VerificationError: The signature is missing or wrong, a path leaves the folder, or a file is missing, altered, a link,
            or not in the list.
    """
    if key is not None:
        public = signing.public_key(key)
        bundle = read(folder)
        signing.check_signature(folder / NAME, public)
    else:
        bundle = read(folder)
    for file in bundle.files:
        _check_one(folder, file)
    listed = {NAME, NAME + signing.SUFFIX, *(file.path for file in bundle.files)}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or (path.is_file() and path.relative_to(folder).as_posix() not in listed):
            raise VerificationError(f"{path} is not in {NAME}; it was added after packaging: delete it")
    return bundle


def _check_one(folder: Path, file: BundleFile) -> None:
    pure = PurePosixPath(file.path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in file.path or not pure.parts:
        raise VerificationError(f"{folder / NAME} points outside its folder: {file.path}")
    path = folder / pure
    if any(part.is_symlink() for part in (path, *list(path.parents)[: len(pure.parts) - 1])):
        raise VerificationError(f"{path} is a link; a bundle holds files alone: package again")
    if not path.is_file():
        raise VerificationError(f"{path} is missing; package again")
    if path.stat().st_size != file.bytes or _sha256(path) != file.sha256:
        raise VerificationError(
            f"{path} was altered after packaging: it is not the content of sha256 {file.sha256[:16]}... in {NAME}"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
