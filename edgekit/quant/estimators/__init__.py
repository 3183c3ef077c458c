"""How the range of a tensor is found. One estimator a file; the file's name is the name that options use.

Each file has `activation(grid) -> spec` and `weight(grid) -> spec`, where a spec is what torchao's pt2e attaches to
an edge of the graph; `fake_quantize = True` marks the ones that quantization-aware training can use.
"""

import pkgutil
from importlib import import_module
from types import ModuleType

from edgekit.errors import UserError


def names() -> tuple[str, ...]:
    """The estimators there are."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def find(name: str) -> ModuleType:
    """The estimator called `name`. Raises UserError with the allowed names."""
    if name not in names():
        raise UserError(f"unknown estimator {name!r}; allowed are {', '.join(names())}")
    return import_module(f"{__name__}.{name}")
