"""bundle.json: what `edgekit package` writes, and the one file that is signed. Its JSON Schema is `edgekit schema bundle`."""

from edgekit.records._base import Record


class BundleFile(Record):
    """One file of the bundle.

    Attributes:
        path: Relative to the folder of bundle.json, with forward slashes.
        bytes: Its size.
        sha256: Of its bytes; `files/<sha256>` holds them again where the file belongs to a target.
    """

    path: str
    bytes: int
    sha256: str


class BundleTarget(Record):
    """One exported target in it.

    Attributes:
        content_version: The hash of the artifact, as in its manifest.
        manifest: The path of its manifest.
        app_must: What the app has to do itself, a sentence; "" where the generated code does it.
    """

    name: str
    format: str
    runtime: str
    content_version: str
    manifest: str
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
