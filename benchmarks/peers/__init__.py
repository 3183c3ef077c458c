"""The quantizers that the benchmark sets side by side, one a file; a new peer is one file here and its name in MODULES.

A peer's module holds
    NEEDS     {module: package as pip names it}: what must be installed. None of it is imported at the top.
    ROWS      {name of a row: Row}: the settings that are compared
    STAGES    the names of its functions, in order; the first is the one that calibrates
    a function for each stage: stage(job) -> call
              imports, loads the model and returns what to call; only that call is measured, in a fresh
              process, and the last one has written `job.out`. What the call returns is a note for the reader, or None.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType

from edgekit.errors import UserError
from peers._records import Row

# the order of the table
MODULES = ("edgekit_ptq", "ort_static", "ai_edge", "nncf_openvino", "olive_static")


def load(name: str) -> ModuleType:
    return importlib.import_module(f"peers.{name}")


def rows() -> dict[str, tuple[str, Row]]:
    """Every row: its name -> (module, Row), in the order of the table."""
    return {name: (module, row) for module in MODULES for name, row in load(module).ROWS.items()}


def choose(only: str) -> list[str]:
    """The rows of a comma-separated list, or all; in the order of the table. Raises UserError for an unknown one."""
    known = rows()
    wanted = [part.strip() for part in only.split(",") if part.strip()]
    for name in wanted:
        if name not in known:
            raise UserError(f"--only names {name!r}, which is no row; allowed: {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]


def pip_line(module: str) -> str | None:
    """How to install what the peer still needs here; None if nothing."""
    lacking = [package for name, package in load(module).NEEDS.items() if find_spec(name) is None]
    return f"pip install {' '.join(lacking)}" if lacking else None


def versions(module: str) -> dict[str, str]:
    """The versions of the packages that the peer needs."""
    found = {}
    for package in load(module).NEEDS.values():
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
