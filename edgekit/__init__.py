"""edgekit: one trained model in; for each target the smallest and fastest artifact that meets the budget, proven.

Importing this package loads no framework: every public name is resolved when it is first used.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.api import deploy
    from edgekit.errors import (
        BudgetError,
        ConversionError,
        EdgekitError,
        MissingRuntime,
        TargetError,
        TaskError,
        UserError,
        VerificationError,
    )
    from edgekit.ladder.planner import plan
    from edgekit.records import Budget, Preprocessing, Report
    from edgekit.target import Target, load_target
    from edgekit.task import Task, Training, load_task

_HOMES = {
    "Budget": "records",
    "BudgetError": "errors",
    "ConversionError": "errors",
    "EdgekitError": "errors",
    "MissingRuntime": "errors",
    "Preprocessing": "records",
    "Report": "records",
    "Target": "target",
    "TargetError": "errors",
    "Task": "task",
    "TaskError": "errors",
    "Training": "task",
    "UserError": "errors",
    "VerificationError": "errors",
    "deploy": "api",
    "load_target": "target",
    "load_task": "task",
    "plan": "ladder.planner",
}

__all__ = [
    "Budget",
    "BudgetError",
    "ConversionError",
    "EdgekitError",
    "MissingRuntime",
    "Preprocessing",
    "Report",
    "Target",
    "TargetError",
    "Task",
    "TaskError",
    "Training",
    "UserError",
    "VerificationError",
    "deploy",
    "load_target",
    "load_task",
    "plan",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from edgekit_runner import __version__

        return __version__
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgekit.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """Importing the submodule `edgekit.deploy` must not put the module over the public function of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
