"""Builds and converts the networks of a test file in a process of its own, so that no converter enters the test process.

It is forked from a warm server, as a stage of edgekit is: what it needs is imported once for all files of a run.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from edgekit.engine import process
from edgekit.engine.catalogue import Stage
from edgekit.records import Record

FOUND = "found.json"


class Place(Record):
    """A test file with a function `child`, and the folder that it is given."""

    file: str
    folder: str


class Done(Record):
    """It has ended."""


def found_by(file: str, folder: Path, family: str) -> Any:
    """Returns what `child(folder)` of a test file found, in a process with the frameworks of a family."""
    build = Stage(
        name="build", function="own_process:call_child", spec=Place, result=Done, family=lambda _: family
    )
    process.run(build, Place(file=file, folder=str(folder)), folder / "process")
    return json.loads((folder / FOUND).read_text())


def call_child(spec: Place) -> Done:
    """Runs there: calls the function and keeps its answer."""
    file = Path(spec.file)
    sys.path.insert(0, str(file.parent))
    found = importlib.import_module(file.stem).child(Path(spec.folder))
    (Path(spec.folder) / FOUND).write_text(json.dumps(found))
    return Done()
