"""index.json: the updates that an app may fetch, and the one file of them that is signed. Its JSON Schema is `edgekit schema index`."""

from typing import Annotated

from msgspec import Meta

from edgekit.records._base import Record, Sha256
from edgekit.records.bundle import BundleFile

Release = Annotated[str, Meta(pattern=r"^(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})$")]
Seconds = Annotated[int, Meta(ge=0, le=2**40)]


class UpdateTarget(Record):
    """One target of a version.

    Attributes:
        interface: As in bundle.json.
        files: What an app needs of it, their paths relative to the target's folder; `files/<sha256>` holds their bytes.
    """

    name: str
    interface: Sha256
    files: tuple[BundleFile, ...]


class UpdateVersion(Record):
    """One version of the bundle."""

    version: Release
    targets: tuple[UpdateTarget, ...]


class UpdateIndex(Record):
    """The whole file.

    Attributes:
        serial: Higher with every index; an app refuses one that is lower than it has seen.
        issued_s: When it was made, in seconds since 1970.
        expires_s: From when an app refuses it.
        versions: From old to new.
    """

    schema_version: int
    name: str
    serial: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    issued_s: Seconds
    expires_s: Seconds
    versions: Annotated[tuple[UpdateVersion, ...], Meta(min_length=1)]
