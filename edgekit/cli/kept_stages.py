"""The verb `cache`: what is kept of earlier runs."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from edgekit.cli.options import json_option
from edgekit.cli.printing import print_json, put
from edgekit.errors import UserError

if TYPE_CHECKING:
    from edgekit.engine.stage_cache import StageCache


class Folder(NamedTuple):
    """What else is kept.

    Attributes:
        name: Of a folder in the user's cache.
        size_bytes: What its files take.
        is_cleared: Whether `clear` removes it; what was fetched or compiled stays.
    """

    name: str
    size_bytes: int
    is_cleared: bool


@click.group()
def cache() -> None:
    """Finished stages of earlier runs, which the next export of the same model takes over."""


@cache.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List what is kept: each stage, its size and when it was last used, and what else takes room."""
    kept = _stage_cache()
    entries, others = kept.entries(), _others(kept)
    if as_json:
        rows = [{"stage": e.stage, "size_bytes": e.size_bytes, "used_unix_s": e.used_unix_s} for e in entries]
        print_json(
            {
                "folder": str(kept.root),
                "limit_bytes": kept.limit_bytes,
                "entries": rows,
                "others": [folder._asdict() for folder in others],
            }
        )
        return
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_unix_s))
        put(f"{used}  {entry.size_bytes / 1e6:9.1f} MB  {entry.stage}")
    total = sum(entry.size_bytes for entry in entries)
    put(
        f"{len(entries)} stages, {total / 1e6:.1f} MB of at most {kept.limit_bytes / 1e6:.0f} MB in {kept.root}"
    )
    for folder in others:
        stays = "" if folder.is_cleared else "; clear leaves it"
        put(f"{folder.size_bytes / 1e6:.1f} MB in {kept.root.parent / folder.name}{stays}")


@cache.command()
@json_option
def clear(as_json: bool) -> None:
    """Remove what earlier runs left; the next export does everything itself."""
    kept = _stage_cache()
    gone, others = kept.shrink(0), [folder for folder in _others(kept) if folder.is_cleared]
    for folder in others:
        shutil.rmtree(kept.root.parent / folder.name, ignore_errors=True)
    freed = sum(entry.size_bytes for entry in gone) + sum(folder.size_bytes for folder in others)
    if as_json:
        print_json({"removed": len(gone), "freed_bytes": freed})
        return
    put(f"removed {len(gone)} stages, {freed / 1e6:.1f} MB")


def _others(kept: "StageCache") -> list[Folder]:
    """The folders beside that of the stages."""
    from edgekit.engine.kept_texts import OUTPUTS
    from edgekit.engine.stage_times import TIMES

    beside = (path for path in sorted(kept.root.parent.iterdir()) if path != kept.root)
    return [
        Folder(path.name, _size_bytes(path), path.name in (OUTPUTS, TIMES))
        for path in beside
        if path.is_dir() and not path.is_symlink()
    ]


def _size_bytes(folder: Path) -> int:
    """What its files take, as far as they can be seen; links count nothing."""
    found = 0
    for top, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += Path(top, name).lstat().st_size
    return found


def _stage_cache() -> "StageCache":
    from edgekit.engine.stage_cache import STAGES, StageCache
    from edgekit.engine.user_cache import private_folder

    try:
        return StageCache(private_folder(STAGES))
    except OSError as error:
        raise UserError(f"there is no cache: {error}; XDG_CACHE_HOME names a folder for it") from error
