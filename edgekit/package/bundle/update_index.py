"""Updates over the air: a folder for any web server, in which an app finds by one signed file what changed.

    index.json  index.json.sig  files/<sha256>

An app fetches index.json, refuses it unless it is signed by the key that the app was built with, in date and not older than
what it has seen, and then fetches the files whose hash it does not hold. A version is taken back by publishing its successor:
neither the serial nor the newest version ever goes down.
"""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from edgekit.engine.output import is_free
from edgekit.engine.workspace import replacement
from edgekit.errors import UserError, VerificationError
from edgekit.package.bundle import bundle_file, listed, signing
from edgekit.records import convert
from edgekit.records.bundle import Bundle, BundleTarget
from edgekit.records.record_file import Words, canonical, read_record
from edgekit.records.updates import UpdateIndex, UpdateTarget, UpdateVersion

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCHEMA_VERSION = 1
NAME = "index.json"
WORDS = Words("an index of updates", "give a folder that `edgekit index` wrote", "index again")
FILES = "files"
DAY_S = 86_400
CLOCK_S = 600  # how far two clocks may be apart


def publish(bundles: Sequence[Path], key: Path, days: int, out: Path) -> UpdateIndex:
    """Writes the folder of updates, whole or not at all.

    Args:
        bundles: What `edgekit package` wrote, in any order; every one is held to its list first.
        key: The private key that signs the index, and signed the bundles if they are signed.
        days: For how long an app accepts it.
        out: The folder to write; the index that stands there is followed by this one.

    Raises:
        UserError: Something given is wrong, the bundles do not belong together, or a version would go down.
        VerificationError: A file of a bundle was altered, or the index that stands there is not this key's.
    """
    signer = signing.private_key(key)
    public = signer.public_key()
    with replacement(out, lambda place: _present(place, public)) as partial:
        taken = [_taken(folder, public) for folder in bundles]
        made = _index(taken, bundles, _present(out, public), days, out)
        (partial / FILES).mkdir()
        for folder, version in zip(bundles, taken, strict=True):
            _copy_files(folder, version, partial / FILES)
        (partial / NAME).write_text(canonical(made), encoding="utf-8")
        signing.sign(partial / NAME, signer)
    return made


def _index(
    taken: Sequence[Bundle], folders: Sequence[Path], before: UpdateIndex | None, days: int, out: Path
) -> UpdateIndex:
    """What follows the index that is there. Raises UserError where the bundles do not belong together, or a version would go down."""
    now_s = _now_s()
    made = UpdateIndex(
        schema_version=SCHEMA_VERSION,
        name=taken[0].name,
        serial=before.serial + 1 if before else 1,
        issued_s=now_s,
        expires_s=now_s + days * DAY_S,
        versions=_versions(taken, folders),
    )
    if before is not None:
        _refuse_going_down(made, before, out)
    return made


def _now_s() -> int:
    """The time, or what stands for it where builds are to be the same: https://reproducible-builds.org/specs/source-date-epoch/."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given and not (given.isascii() and given.isdigit() and len(given) < 12):
        raise UserError(
            f"SOURCE_DATE_EPOCH is {given[:40]!r}; it must be a time in seconds since 1970, or not set"
        )
    return int(given or time.time())


def is_index(folder: Path) -> bool:
    """Whether a folder holds an index.json of updates."""
    return (folder / NAME).is_file() and (folder / FILES).is_dir()


def read(folder: Path) -> UpdateIndex:
    """Reads the index.json in `folder`.

    Raises:
        UserError: There is none, it is not JSON, of another schema version, or not what an index holds.
    """
    return read_record(folder / NAME, UpdateIndex, SCHEMA_VERSION, WORDS)


def check_index(folder: Path, key: Path | None) -> UpdateIndex:
    """Holds a folder of updates to its index as an app does, and each of its files to the index.

    Raises:
        UserError: There is no valid index.json, or the key is none.
        VerificationError: The signature is missing or wrong, the index expired or is of tomorrow, a path leaves the folder, or a
            file is missing, altered, a link, or not in the index.
    """
    if key is not None:
        signing.check_signature(folder / NAME, signing.public_key(key))
    index = read(folder)
    now_s = time.time()
    if index.expires_s <= now_s:
        raise VerificationError(f"{folder / NAME} has expired; make another with `edgekit index`")
    if index.issued_s > now_s + CLOCK_S:
        raise VerificationError(f"{folder / NAME} is of tomorrow; set the clock of the machine that made it")
    names = set()
    for file in (f for version in index.versions for target in version.targets for f in target.files):
        if not listed.is_inside(file.path):
            raise VerificationError(f"{folder / NAME} points outside its folder: {file.path[:200]!r}")
        stored = msgspec.structs.replace(file, path=f"{FILES}/{file.sha256}")
        listed.check_file(folder, stored, NAME)
        names.add(stored.path)
    listed.refuse_unlisted(folder, {NAME, NAME + signing.SUFFIX, *names}, NAME)
    return index


def _present(out: Path, public: "Ed25519PublicKey") -> UpdateIndex | None:
    """The index that stands where the new one goes. Raises where something else stands there."""
    if is_free(out):
        return None
    if not is_index(out):
        raise UserError(f"output folder {out} exists and holds no updates; give another -o or empty it")
    signing.check_signature(out / NAME, public)
    return read(out)


def _taken(folder: Path, public: "Ed25519PublicKey") -> Bundle:
    bundle = bundle_file.check_bundle(folder)
    if signing.signature_file(folder / bundle_file.NAME).is_file():
        signing.check_signature(folder / bundle_file.NAME, public)
    if any(not target.interface for target in bundle.targets):
        raise UserError(f"{folder} was packaged by an edgekit before updates were known; package it again")
    return bundle


def _versions(taken: Sequence[Bundle], folders: Sequence[Path]) -> tuple[UpdateVersion, ...]:
    if len({bundle.name for bundle in taken}) > 1:
        given = ", ".join(f"{folder}: {bundle.name}" for folder, bundle in zip(folders, taken, strict=True))
        raise UserError(f"one index is of one bundle's versions, not of {given}; make an index a name")
    if len({bundle.version for bundle in taken}) < len(taken):
        given = ", ".join(bundle.version for bundle in taken)
        raise UserError(f"a version is given twice: {given}; one version has one content")
    try:
        found = [convert(msgspec.to_builtins(_version(b)), UpdateVersion) for b in taken]
    except msgspec.ValidationError:
        given = ", ".join(bundle.version for bundle in taken)
        raise UserError(
            f"updates have versions as 1.2.0, without a suffix, not {given}; package the release"
        ) from None
    return tuple(sorted(found, key=lambda version: order(version.version)))


def order(version: str) -> tuple[int, ...]:
    """A release as numbers that compare as releases do."""
    return tuple(map(int, version.split(".")))


def _version(bundle: Bundle) -> UpdateVersion:
    return UpdateVersion(
        version=bundle.version, targets=tuple(_target(bundle, each) for each in bundle.targets)
    )


def _target(bundle: Bundle, target: BundleTarget) -> UpdateTarget:
    root = PurePosixPath(target.manifest).parent
    files = [
        msgspec.structs.replace(file, path=PurePosixPath(file.path).relative_to(root).as_posix())
        for file in bundle.files
        if PurePosixPath(file.path).is_relative_to(root)
    ]
    return UpdateTarget(name=target.name, interface=target.interface, files=tuple(files))


def _refuse_going_down(made: UpdateIndex, before: UpdateIndex, out: Path) -> None:
    newest, last = made.versions[-1].version, before.versions[-1].version
    if made.name != before.name:
        raise UserError(f"{out} holds updates of {before.name}, not of {made.name}; give another -o")
    if order(newest) < order(last):
        raise UserError(
            f"{out} offers {before.name} {last}, and apps refuse to go back to {newest}; package the older model as a version "
            f"above {last}"
        )
    known = {version.version: version for version in before.versions}
    for version in made.versions:
        if version.version in known and known[version.version] != version:
            raise UserError(
                f"{out} offers {made.name} {version.version} already, with other content; one version has one content: give a "
                "higher --version to `edgekit package`"
            )


def _copy_files(folder: Path, bundle: Bundle, place: Path) -> None:
    for target in bundle.targets:
        root = PurePosixPath(target.manifest).parent
        for file in bundle.files:
            if PurePosixPath(file.path).is_relative_to(root) and not (place / file.sha256).exists():
                shutil.copyfile(folder / file.path, place / file.sha256)
