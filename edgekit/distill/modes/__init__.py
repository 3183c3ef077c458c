"""Who teaches: one mode a file, found by its name.

A file holds `TEACHERS`, the teachers that the mode wants: "frozen" (one or several), "trained" (one) or
"none", and `method(setting) -> Method`. A new mode also needs its name in `Mode`.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Literal

from edgekit.distill.distiller import Method, Setting

Mode = Literal["ema", "exits", "offline", "online"]


def names() -> list[str]:
    """Returns the names of all modes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def teachers(mode: str) -> str:
    """Returns the teachers that a mode wants."""
    wanted: str = _module(mode).TEACHERS
    return wanted


def method(mode: str, setting: Setting) -> Method:
    """Makes the method of a mode.

    Raises:
        UserError: The graphs lack a feature that is named, or a term cannot compare two of them.
        NotApplicable: The network does not offer what the mode needs.
    """
    made: Method = _module(mode).method(setting)
    return made


def _module(mode: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{mode}")
