"""SHA256SUMS: the hash of every file of a folder, in the format of `sha256sum -c`, written last.

An export has one over all that it holds, and one in each target's folder, which may travel alone.
"""

import os
import re
import stat
from pathlib import Path, PurePosixPath

from edgekit_runner import artifact
from edgekit_runner.errors import UserError, VerificationError

NAME = "SHA256SUMS"
MANIFEST = "manifest.json"
MOST_BYTES = 16 << 20  # of the list itself
MOST_NAMED = 8  # files in one sentence
_LINE = re.compile(r"([0-9a-f]{64})  ([^\x00-\x1f\x7f\\]{1,1024})")


def text_of(folder: Path) -> str:
    """The list of a folder's files: sorted, without itself."""
    names = sorted(name for name in _files(folder) if name != NAME)
    return "".join(f"{artifact.sha256(folder / name)}  {name}\n" for name in names)


def check(folder: Path) -> int:
    """Holds a folder to its list.

    A file that is not in the list may stand at the top of an export, where a page or a note is put, and nowhere else.

    Returns:
        How many files the list holds.

    Raises:
        UserError: There is no list, or it is none.
        VerificationError: A file is missing, altered, added or a link; the sentence names each.
    """
    listed = read(folder)
    found = [f"{name} {what}" for name, wanted in listed.items() if (what := _fault(folder, name, wanted))]
    is_target = MANIFEST in listed
    found += [
        f"{name} was added after export"
        for name in sorted(_files(folder))
        if name not in listed and name != NAME and (is_target or "/" in name)
    ]
    if found:
        more = f", and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise VerificationError(
            f"{folder} is not what {NAME} in it says: {'; '.join(found[:MOST_NAMED])}{more}; restore it, or export again"
        )
    return len(listed)


def read(folder: Path) -> dict[str, str]:
    """The files of a list and their hashes.

    Raises:
        UserError: There is none, or it is none.
    """
    path = folder / NAME
    try:
        if path.is_symlink() or not stat.S_ISREG(path.stat().st_mode) or path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is a link, no file, or larger than any list of edgekit's; export again")
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise UserError(f"{folder} holds no readable {NAME}; give what edgekit exported, whole.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text; export again.") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        place = PurePosixPath(match.group(2)) if match else None
        if (
            match is None
            or place is None
            or place.is_absolute()
            or ".." in place.parts
            or str(place) in found
        ):
            raise UserError(
                f"{path}, line {number}, is no hash and name of a file in the folder; export again."
            )
        found[str(place)] = match.group(1)
    return found


def _fault(folder: Path, name: str, wanted: str) -> str:
    path = folder / name
    try:
        if any(
            part.is_symlink() for part in (path, *list(path.parents)[: len(PurePosixPath(name).parts) - 1])
        ):
            return "is a link"
        if not path.is_file():
            return "is missing"
        return "" if artifact.sha256(path) == wanted else "was altered after export"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _files(folder: Path) -> list[str]:
    """Everything below a folder that is no folder, links too, which are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in [*files, *links]]
    return found
