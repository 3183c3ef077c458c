"""Who teaches: one mode a file, found by its name, with `method(setting) -> Method`."""

import importlib
import pkgutil

from edgekit.distill.distiller import Method, Setting


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def method(mode: str, setting: Setting) -> Method:
    found: Method = importlib.import_module(f"{__name__}.{mode}").method(setting)
    return found
