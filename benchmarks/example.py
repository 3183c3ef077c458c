"""The modules of examples/, which is no package."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from edgekit.errors import UserError

EXAMPLES = Path(__file__).parents[1] / "examples"


@cache
def example(name: str) -> ModuleType:
    """examples/NAME.py, with its neighbours importable. Raises UserError where there is none."""
    place = EXAMPLES / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"edgekit_example_{name}", place)
    if spec is None or spec.loader is None or not place.is_file():
        raise UserError(f"no example {name}")
    sys.path.append(str(EXAMPLES))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
