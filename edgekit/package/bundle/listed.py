"""Files that a signed list names: how a folder is held to the list."""

import hashlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from edgekit.errors import VerificationError
from edgekit.records.bundle import BundleFile
from edgekit.records.foreign import visible

CHUNK_BYTES = 1 << 20


def files_of(root: Path) -> tuple[BundleFile, ...]:
    """Every file in a folder, by path."""
    found = [
        BundleFile(path=path.relative_to(root).as_posix(), bytes=path.stat().st_size, sha256=sha256_of(path))
        for path in root.rglob("*")
        if path.is_file()
    ]
    return tuple(sorted(found, key=lambda file: file.path))


def is_inside(path: str) -> bool:
    """Whether a path of a list stays in the folder, on every system."""
    pure = PurePosixPath(path)
    unsafe = pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path or not pure.parts
    return path.isprintable() and not unsafe


def check_file(folder: Path, file: BundleFile, name: str) -> None:
    """Holds one file to the list of this name.

    Raises:
        VerificationError: The path leaves the folder, or the file is missing, altered or a link.
    """
    if not is_inside(file.path):
        raise VerificationError(f"{folder / name} points outside its folder: {visible(file.path[:200])}")
    path = folder / file.path
    try:
        path.lstat()
    except OSError as error:  # a name that no file can have, too
        raise VerificationError(
            f"{visible(str(path)[:300])} is missing ({error.strerror}); package again"
        ) from error
    parents = list(path.parents)[: len(PurePosixPath(file.path).parts) - 1]
    if any(part.is_symlink() for part in (path, *parents)):
        raise VerificationError(f"{path} is a link; a bundle holds files alone: package again")
    if not path.is_file():
        raise VerificationError(f"{path} is missing; package again")
    if path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
        raise VerificationError(
            f"{path} was altered after packaging: it is not the content of sha256 {file.sha256[:16]}... in {name}"
        )


def refuse_unlisted(folder: Path, listed: Collection[str], name: str) -> None:
    """Raises VerificationError where the folder holds a link, or a file that is not in the list of this name."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or (path.is_file() and path.relative_to(folder).as_posix() not in listed):
            raise VerificationError(f"{path} is not in {name}; it was added after packaging: delete it")


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
