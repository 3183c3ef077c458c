"""bundle.json: what `edgekit package` writes, with the hash of every file. Its JSON Schema is `edgekit schema bundle`.

What was measured is no content: it differs from run to run, and stands in measured.json, signed on its own.
"""

from typing import Annotated

from msgspec import Meta

from edgekit.records._base import Record, Sha256
from edgekit.records.results import Measurement
from edgekit.records.runtimes import RuntimeChoice

FileBytes = Annotated[int, Meta(ge=0, le=2**50)]


class BundleFile(Record):
    """One file of the bundle.

    Attributes:
        path: Relative to the folder of bundle.json, with forward slashes.
        bytes: Its size.
        sha256: Of its bytes; `files/<sha256>` holds them again where the file belongs to a target.
    """

    path: str
    bytes: FileBytes
    sha256: Sha256


class BundleTarget(Record):
    """One exported target in it.

    Attributes:
        content_version: The hash of the artifact, as in its manifest.
        manifest: The path of its manifest.
        interface: The hash of what an app's code depends on: signature, preprocessing, runtime, least versions. An app takes an
            update only where it is the one that the app was built with.
        app_must: What the app has to do itself, a sentence; "" where the generated code does it.
    """

    name: str
    format: str
    runtime: str
    content_version: str
    manifest: str
    interface: str = ""
    app_must: str = ""


class Bundle(Record):
    """The whole file; keys are sorted on disk, files by path.

    Attributes:
        ecosystems: What it was packaged for.
        previous: The version that it follows, "" for the first.
    """

    schema_version: int
    name: str
    version: str
    license: str
    ecosystems: tuple[str, ...]
    targets: tuple[BundleTarget, ...]
    files: tuple[BundleFile, ...]
    previous: str = ""


class MeasuredTarget(Record):
    """What was measured of one target, as its export's manifest says it."""

    measurement: Measurement | None = None
    runtimes: RuntimeChoice | None = None
    doubts: tuple[str, ...] = ()
    not_measured: tuple[str, ...] = ()


class Measured(Record):
    """The whole of measured.json.

    Attributes:
        bundle_sha256: Of the bundle.json that it belongs to.
        targets: By name.
    """

    schema_version: int
    bundle_sha256: Sha256
    targets: dict[str, MeasuredTarget]
