"""The verb `cache`: what is kept of earlier runs."""

import shutil
import time
from typing import TYPE_CHECKING

import click

from edgekit.cli.options import json_option
from edgekit.cli.printing import print_json, put
from edgekit.errors import UserError

if TYPE_CHECKING:
    from edgekit.engine.stage_cache import StageCache


@click.group()
def cache() -> None:
    """Finished stages of earlier runs, which the next export of the same model takes over."""


@cache.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List what is kept: the stage, its size and when it was last used."""
    kept = _stage_cache()
    entries = kept.entries()
    if as_json:
        rows = [{"stage": e.stage, "size_bytes": e.size_bytes, "used_unix_s": e.used_unix_s} for e in entries]
        print_json({"folder": str(kept.root), "limit_bytes": kept.limit_bytes, "entries": rows})
        return
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_unix_s))
        put(f"{used}  {entry.size_bytes / 1e6:9.1f} MB  {entry.stage}")
    total = sum(entry.size_bytes for entry in entries)
    put(
        f"{len(entries)} stages, {total / 1e6:.1f} MB of at most {kept.limit_bytes / 1e6:.0f} MB in {kept.root}"
    )


@cache.command()
@json_option
def clear(as_json: bool) -> None:
    """Remove all of it; the next export does everything itself."""
    from edgekit.engine.stage_times import TIMES
    from edgekit.engine.user_cache import cache_folder

    gone = _stage_cache().shrink(0)
    shutil.rmtree(cache_folder(TIMES), ignore_errors=True)
    freed = sum(entry.size_bytes for entry in gone)
    if as_json:
        print_json({"removed": len(gone), "freed_bytes": freed})
        return
    put(f"removed {len(gone)} stages, {freed / 1e6:.1f} MB")


def _stage_cache() -> "StageCache":
    from edgekit.engine.stage_cache import STAGES, StageCache
    from edgekit.engine.user_cache import private_folder

    try:
        return StageCache(private_folder(STAGES))
    except OSError as error:
        raise UserError(f"there is no cache: {error}; XDG_CACHE_HOME names a folder for it") from error
