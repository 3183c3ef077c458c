"""The folder of a stage: named by a key, the hash of its function and of its spec without the folder itself.

The paths in a spec lie in folders named so too, so that a key stands for all the content that went in. A folder that
holds a result is a finished stage, of this run or of one that was stopped, and is not run again.
"""

import hashlib
import json
import shutil
from pathlib import Path

import msgspec

from edgekit.records import Record

CHECKPOINT = "checkpoint"  # in the folder of a stage that trains, as long as it does
UNNAMED = Path("FOLDER")
SHARED = "shared"  # the folder of what belongs to no single target
OBSERVED = "observed"  # in it: what calibrating saw, for every step that would see the same


def key(function: str, spec: Record) -> str:
    """Returns what a stage is known by: a hash of its function and its spec, for a folder that has no name yet.

    Args:
        function: "package.module:name".
        spec: The spec for the folder `UNNAMED`.
    """
    plain = [function, msgspec.to_builtins(spec)]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def clear(folder: Path) -> None:
    """Empties the folder of an unfinished stage, except for its checkpoints, which are written whole."""
    for left in folder.iterdir() if folder.is_dir() else ():
        if left.is_dir() and left.name != CHECKPOINT:
            shutil.rmtree(left)
        elif left.name != CHECKPOINT:
            left.unlink()
