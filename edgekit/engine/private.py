"""Folders and files that only their user may read and write, opened without following links, as ssh keeps its keys.

What another user could have written is never trusted: a stage loads programs from such a folder, and a link in place of it
would have something else emptied. Windows has neither these rights nor these links; there the folder is used as it is.
"""

import os
import stat
from pathlib import Path
from typing import IO

from edgekit.errors import UserError

POSIX = os.name == "posix"
RIGHTS = 0o700


class Gone(Exception):
    """The folder was removed by its last owner just now; make it again."""


def make_folder(folder: Path, *, of_private_ones: bool = False) -> None:
    """Makes a folder that is its user's alone, or takes one that is already.

    Args:
        folder: Its place; folders above it are made as any other.
        of_private_ones: Whether it holds nothing but such folders, each of which is checked by itself: then it is taken where
            others of its group could write, too.

    Raises:
        UserError: It is a link, no folder, or another user's.
        OSError: It cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=RIGHTS)
    except FileExistsError:
        _take(folder, of_private_ones)


def _take(folder: Path, of_private_ones: bool) -> None:
    try:
        found = folder.lstat()
    except FileNotFoundError as error:
        raise Gone from error
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no folder"
        raise UserError(
            f"{folder} is {kind}, and edgekit keeps its own files there; remove it, then run again"
        )
    check_owner(folder, found)
    if POSIX and not of_private_ones and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(
            f"{folder} may be written by others, who could have put code there; remove it, then run again"
        )
    if POSIX and stat.S_IMODE(found.st_mode) != RIGHTS:
        folder.chmod(RIGHTS)


def check_owner(place: Path, found: os.stat_result) -> None:
    """Raises UserError for what belongs to another user."""
    if POSIX and found.st_uid != os.geteuid():
        raise UserError(
            f"{place} belongs to another user (uid {found.st_uid}): what is in it could run code as you; remove it, or work "
            "elsewhere"
        )


def open_file(folder: Path, name: str) -> IO[str]:
    """Opens a small file in such a folder to read and write, and makes it where it is not there.

    Raises:
        UserError: It is a link, no file, or another user's.
        Gone: The folder is no longer there.
        OSError: It cannot be opened.
    """
    place = folder / name
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(place, flags, 0o600)
    except FileNotFoundError as error:
        raise Gone from error
    except OSError as error:
        if place.is_symlink() or place.is_dir():
            raise UserError(
                f"{place} is a link or a folder, and edgekit keeps a file there; remove it, then run again"
            ) from error
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise UserError(f"{place} is no plain file of edgekit's; remove it, then run again")
        check_owner(place, found)
    except UserError:
        os.close(handle)
        raise
    return os.fdopen(handle, "r+", encoding="utf-8")
