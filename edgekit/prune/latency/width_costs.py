"""Tables of widths on disk: one file for each set of conditions, filled row by row, so nothing is lost.

A figure is valid for the runtime, its version, the CPU, the number of threads and the precision it was
measured with: these determine the name of the file, and are stored in it. A file whose content contradicts
its name is refused.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgekit.engine.user_cache import private_folder
from edgekit.errors import UserError
from edgekit.records import Record, WidthRow

VERSION = 1
TABLES = "width-tables"


class Kept(Record):
    """The content of a file."""

    version: int
    conditions: dict[str, str]
    rows: tuple[WidthRow, ...]


class Store:
    """The rows that were measured under some conditions.

    Args:
        conditions: What the figures depend on.
        folder: Where the files are; None is the user's cache.

    Raises:
        UserError: The file is damaged, or of other conditions.
    """

    def __init__(self, conditions: Mapping[str, str], folder: Path | None = None) -> None:
        self.conditions = dict(conditions)
        text = json.dumps(self.conditions, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = (folder or _own_folder()) / f"{digest}.json"
        self._rows = {row.micro: row for row in read(self.path, conditions)}

    def row(self, micro: str, widths: list[int]) -> WidthRow | None:
        """Returns the figures of these layers if they cover all of these widths."""
        found = self._rows.get(micro)
        return found if found is not None and set(widths) <= set(found.widths) else None

    def add(self, row: WidthRow) -> None:
        """Writes a row at once, so that an interrupted run finds it again; rows of other processes stay."""
        self._rows = {kept.micro: kept for kept in read(self.path, self.conditions)} | self._rows
        self._rows[row.micro] = row
        kept = Kept(version=VERSION, conditions=self.conditions, rows=tuple(self._rows.values()))
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1))
        partial.replace(self.path)


def _own_folder() -> Path:
    """The user's alone; without a cache the temporary folder, which is a stage's own."""
    try:
        return private_folder(TABLES)
    except OSError:
        return Path(tempfile.gettempdir())


def read(path: Path, conditions: Mapping[str, str]) -> tuple[WidthRow, ...]:
    """Reads the rows of a file; there are none where there is no file.

    Raises:
        UserError: The file is damaged, or of other conditions.
    """
    if not path.is_file():
        return ()
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not a table of widths: {error}; remove it, and it is measured again"
        ) from error
    if kept.version != VERSION:
        raise UserError(
            f"{path} is a table of version {kept.version}, this edgekit reads {VERSION}; remove it, and it is measured again"
        )
    names = {**kept.conditions, **conditions}
    other = [name for name in names if kept.conditions.get(name) != conditions.get(name)]
    if other:
        was = ", ".join(f"{name} {kept.conditions.get(name, 'unknown')!r}" for name in other)
        now = ", ".join(f"{name} {conditions.get(name, 'unknown')!r}" for name in other)
        raise UserError(
            f"{path} was measured with {was}; asked for is {now}. Figures of one do not hold for the other: remove the file, "
            "and it is measured here"
        )
    return kept.rows
