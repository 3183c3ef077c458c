"""Who teaches: one mode a file, found by its name.

A file holds `TEACHERS`, what the mode wants for teachers: "frozen" (one or several), "trained" (one) or "none", and
`method(setting) -> Method`.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Literal

from edgekit.distill.distiller import Method, Setting

Mode = Literal["ema", "exits", "offline", "online"]


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def teachers(mode: str) -> str:
    wanted: str = _module(mode).TEACHERS
    return wanted


def method(mode: str, setting: Setting) -> Method:
    """Raises UserError for features that the graphs do not have or a term cannot compare."""
    made: Method = _module(mode).method(setting)
    return made


def _module(mode: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{mode}")
