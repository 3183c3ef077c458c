"""The artifact on disk: its size, and a hash of its content: of every file, where it is a folder.

The hash is computed by the interpreter's own sha256: `hashlib` maps OpenSSL, 3.7 MB that the measuring process
would hold beside the model. It hashes some 350 MB a second, a fifth of what OpenSSL does.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from edgekit_runner.errors import UserError

_CHUNK_BYTES = 1 << 16


class ArtifactSection(TypedDict):
    """One artifact as records name it."""

    path: str
    format: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ArtifactInfo:
    """One artifact.

    Attributes:
        path: As it was given.
        format: The name of its format, such as "onnx".
        size_bytes: Of all its files.
        sha256: The hash of its content, see `sha256`.
    """

    path: str
    format: str
    size_bytes: int
    sha256: str

    def section(self) -> ArtifactSection:
        """The `artifact` of a record."""
        return {
            "path": self.path,
            "format": self.format,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
        }


def describe(path: str | Path, format_name: str) -> ArtifactInfo:
    """Reads the artifact once.

    Args:
        path: A file, or the folder of a .mlpackage.
        format_name: The name of its format, which is taken over.

    Raises:
        UserError: It is absent, empty or unreadable.
    """
    place = Path(path)
    if not place.exists():
        raise UserError(f"no artifact at {path}; give the path of a .onnx, .tflite or .mlpackage.")
    if place.is_dir() and not (place / "Data").is_dir():
        raise UserError(f"{path} is a folder without Data/; of folders only a .mlpackage is an artifact.")
    try:
        files = _files(place)
        size_bytes = sum(file.stat().st_size for file in files)
        if size_bytes == 0:
            raise UserError(f"{path} is empty; export the model again.")
        return ArtifactInfo(path=str(path), format=format_name, size_bytes=size_bytes, sha256=sha256(place))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def sha256(path: str | Path) -> str:
    """The content hash, in hexadecimal digits.

    Args:
        path: A file: its bytes are hashed. Or a folder (.mlpackage): the sorted lines "relative path + space +
            sha256 + newline" of all its files are.
    """
    place = Path(path)
    if place.is_file():
        return _sha256_file(place)
    digest = _hasher()
    for file in _files(place):
        digest.update(f"{file.relative_to(place).as_posix()} {_sha256_file(file)}\n".encode())
    return digest.hexdigest()


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted((p for p in place.rglob("*") if p.is_file()), key=lambda p: p.relative_to(place).as_posix())


def _sha256_file(path: Path) -> str:
    digest = _hasher()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _hasher() -> Any:
    for name in ("_sha2", "_sha256"):  # Python 3.12 and later, 3.11
        try:
            return importlib.import_module(name).sha256()
        except ImportError:
            continue
    import hashlib  # an interpreter that was built without its own hashes

    return hashlib.sha256()
