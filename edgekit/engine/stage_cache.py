"""Finished stages that outlive their run, in the user's cache: the next export of the same model does only what is new.

An entry is a folder named by the identity of its stage (`edgekit.engine.identity`): the files that the stage wrote, its log
and its result as JSON. It is written beside its place and renamed into it, and copied, not linked, in both directions, so
that nobody who changes an output changes an entry; `answer.reuse` compares every hash. The least recently used entries go
when the folder is above its limit. The folder is the user's alone, as a work folder is.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.device.scratch import NEW, PREFIX, Scratch, remove_left
from edgekit.engine import private
from edgekit.engine.child import LOG, RESULT
from edgekit.engine.identity import Places

STAGES = "stages"  # the folder's name in the user's cache
LIMIT_BYTES = 8 << 30


@dataclass(frozen=True)
class Entry:
    """One kept stage.

    Attributes:
        path: Its folder.
        stage: What it was called in the run that made it.
        size_bytes: What its files take.
        used_unix_s: When it was last written or taken.
    """

    path: Path
    stage: str
    size_bytes: int
    used_unix_s: float


class StageCache:
    """Keeps stages by identity.

    Args:
        root: Its folder.
        limit_bytes: What all entries may take.

    Raises:
        UserError: The folder is a link, or another user's.
        OSError: It cannot be made.
    """

    def __init__(self, root: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        private.make_folder(root)
        remove_left(root)

    def take(self, identity: str, folder: Path, places: Places) -> bool:
        """Copies an entry into the folder of a stage.

        Args:
            identity: The stage's.
            folder: Its folder in this run; it may hold a part of an entry that is not whole.
            places: The folders of this run.

        Returns:
            Whether there was one.
        """
        entry = self._place(identity)
        if not entry.is_dir():
            return False
        try:
            answer = json.loads((entry / RESULT).read_bytes())
            answer["result"] = places.with_(answer["result"], folder)
            for name in [*answer["files"], LOG]:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(entry / name, folder / name)
            (folder / RESULT).write_text(json.dumps(answer))  # last: what it lies beside is whole
            os.utime(entry)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ):  # damaged, or removed by another run in the meantime
            return False
        return True

    def keep(self, identity: str, folder: Path, places: Places, label: str) -> None:
        """Copies a finished stage into the cache; a full disk leaves the cache as it was."""
        place = self._place(identity)
        with suppress(OSError, KeyError):  # a cache is no reason to fail
            answer = json.loads((folder / RESULT).read_bytes())
            answer |= {"result": places.without(answer["result"], folder), "stage": label}
            size_bytes = sum((folder / name).stat().st_size for name in answer["files"])
            if place.exists() or size_bytes > min(self.limit_bytes, shutil.disk_usage(self.root).free // 4):
                return
            self._write(place, folder, answer)
            self.shrink(self.limit_bytes)

    def replace(self, identity: str, folder: Path, places: Places, label: str) -> None:
        """Keeps it in place of an entry of the same identity, which this one has outgrown."""
        shutil.rmtree(self._place(identity), ignore_errors=True)
        self.keep(identity, folder, places, label)

    def _write(self, place: Path, folder: Path, answer: dict[str, Any]) -> None:
        with Scratch(self.root) as partial:
            for name in [*answer["files"], LOG]:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, partial / name)
            (partial / RESULT).write_text(json.dumps(answer))
            partial.rename(place)

    def entries(self) -> list[Entry]:
        """Returns what is kept, the least recently used first."""
        found = []
        for path in self.root.iterdir():
            if path.name.startswith((PREFIX, NEW)):  # another run is writing it
                continue
            with suppress(OSError, ValueError, AttributeError, RecursionError):
                answer = json.loads((path / RESULT).read_bytes())
                size_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                found.append(Entry(path, str(answer.get("stage", "")), size_bytes, path.stat().st_mtime))
        return sorted(found, key=lambda entry: entry.used_unix_s)

    def shrink(self, limit_bytes: int) -> list[Entry]:
        """Removes the least recently used entries until the others take `limit_bytes` at most; returns what is gone."""
        entries = self.entries()
        over_bytes = sum(entry.size_bytes for entry in entries) - limit_bytes
        gone = []
        for entry in entries:
            if over_bytes <= 0:
                break
            shutil.rmtree(entry.path, ignore_errors=True)
            over_bytes -= entry.size_bytes
            gone.append(entry)
        return gone

    def _place(self, identity: str) -> Path:
        return self.root / identity.removeprefix("@")
