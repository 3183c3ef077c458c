"""How the range of a tensor is found. One estimator a file; the file's name is the name that options use.

Each file has `activation(grid) -> spec`, where a spec is what torchao's pt2e attaches to an edge of the graph;
`fake_quantize = True` marks the ones that quantization-aware training can use, with `training_activation(grid)` and
`training_weight(grid)`. Weights are there to be looked at, so they have a choice of their own: `weight(name, grid)`.
"""

import pkgutil
from importlib import import_module
from types import ModuleType

from torchao.quantization.pt2e.quantizer import QuantizationSpec

from edgekit.errors import UserError
from edgekit.quant.estimators import _grid, _weights


def names() -> tuple[str, ...]:
    """Returns the names of the estimators."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def find(name: str) -> ModuleType:
    """Returns the estimator called `name`.

    Raises:
        UserError: There is no such estimator; the error lists the allowed names.
    """
    if name not in names():
        raise UserError(f"unknown estimator {name!r}; allowed are {', '.join(names())}")
    return import_module(f"{__name__}.{name}")


def weight(name: str, grid: _grid.Grid) -> QuantizationSpec:
    """Returns the spec of weights for `name`, "minmax" or "mse".

    Raises:
        UserError: The name is neither.
    """
    if name not in _weights.OBSERVERS:
        allowed = ", ".join(_weights.OBSERVERS)
        raise UserError(f"unknown estimator of weights {name!r}; allowed are {allowed}")
    return _grid.spec(grid, _weights.OBSERVERS[name][grid.per_channel])
