"""Task files under a name that processes started by them can import.

A task file has no importable name: it becomes the module FILE_MODULE + its stem. A worker process that is spawned (a DataLoader's, by
default on macOS and Windows) unpickles the task's classes by that name in a fresh interpreter. So the names and paths go with the
environment, which workers inherit, and the interpreter of a worker, which runs the main module of its parent first, finds them.
"""

import importlib.abc
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

FILE_MODULE = "edgekit_task_"  # what the modules of task files are called
WORKER = "__mp_main__"  # how multiprocessing calls the main module of the parent in a worker
_FILES = "EDGEKIT_TASK_FILES"


def spec_of(path: Path) -> ModuleSpec | None:
    """Returns the spec of a task file's module, and tells its name to processes that are started from here on."""
    name = f"{FILE_MODULE}{path.stem}"
    os.environ[_FILES] = json.dumps(_known() | {name: str(path)})
    return importlib.util.spec_from_file_location(name, path)


def find_in_workers(main: str) -> None:
    """Lets a worker's interpreter find task files.

    Args:
        main: The name that the main module runs under.
    """
    if main == WORKER:
        sys.meta_path.append(_Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = _known().get(fullname) if fullname.startswith(FILE_MODULE) else None
        return importlib.util.spec_from_file_location(fullname, file) if file else None


def _known() -> dict[str, str]:
    found: dict[str, str] = json.loads(os.environ.get(_FILES, "{}"))
    return found
