"""measured.json: times, memory and what doubts them, beside the content of a bundle and not part of it.

Two exports of one model with one seed give the same files, and so the same bundle.json and the same update; their clocks never
agree. measured.json names the bundle.json that it belongs to by hash, has a signature of its own, and may be left out.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgekit.errors import VerificationError
from edgekit.package.bundle import listed
from edgekit.records.bundle import Measured, MeasuredTarget
from edgekit.records.manifest import Manifest
from edgekit.records.record_file import Words, canonical, read_record

SCHEMA_VERSION = 1
NAME = "measured.json"
WORDS = Words("what was measured of a bundle", "give a folder that `edgekit package` wrote", "package again")


def split(manifest: Manifest) -> tuple[Manifest, MeasuredTarget]:
    """A manifest without what was measured, and that."""
    doubts = manifest.measurement.doubts if manifest.measurement else ()
    measured = MeasuredTarget(
        measurement=manifest.measurement,
        runtimes=manifest.runtimes,
        doubts=tuple(doubt for doubt in manifest.doubts if doubt in doubts),
        not_measured=manifest.not_measured,
    )
    kept = tuple(doubt for doubt in manifest.doubts if doubt not in doubts)
    return msgspec.structs.replace(
        manifest, measurement=None, runtimes=None, doubts=kept, not_measured=()
    ), measured


def write(targets: Mapping[str, MeasuredTarget], folder: Path, bundle: Path) -> Path:
    """Writes it beside the finished bundle.json; returns where."""
    found = Measured(
        schema_version=SCHEMA_VERSION, bundle_sha256=listed.sha256_of(bundle), targets=dict(targets)
    )
    (folder / NAME).write_text(canonical(found), encoding="utf-8")
    return folder / NAME


def read(folder: Path, bundle: Path) -> Mapping[str, MeasuredTarget]:
    """What was measured of a bundle's targets; nothing where the file was left out.

    Raises:
        UserError: It is not what `edgekit package` writes.
        VerificationError: It belongs to another bundle.
    """
    if not (folder / NAME).exists():
        return {}
    found = read_record(folder / NAME, Measured, SCHEMA_VERSION, WORDS)
    if found.bundle_sha256 != listed.sha256_of(bundle):
        raise VerificationError(
            f"{folder / NAME} belongs to another {bundle.name}; package again, or delete it"
        )
    return found.targets


def joined(manifest: Manifest, measured: MeasuredTarget | None) -> Manifest:
    """A manifest as its export had it, but for the order of the doubts."""
    if measured is None:
        return manifest
    return msgspec.structs.replace(
        manifest,
        measurement=measured.measurement,
        runtimes=measured.runtimes,
        doubts=(*manifest.doubts, *measured.doubts),
        not_measured=measured.not_measured,
    )
