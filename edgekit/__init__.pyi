from . import metrics
from .api import __version__, deploy
from .engine.task_reference import load_task
from .errors import (
    BudgetError,
    ConversionError,
    EdgekitError,
    MissingRuntime,
    TargetError,
    TaskError,
    UserError,
    VerificationError,
)
from .ladder.planner import plan
from .profile.reading import load_target
from .records import Budget, Measure, Preprocessing, Report
from .target import Target
from .task import Checkpoint, Dim, Task, Training

__all__ = [
    "Budget",
    "BudgetError",
    "Checkpoint",
    "ConversionError",
    "Dim",
    "EdgekitError",
    "Measure",
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
    "__version__",
    "deploy",
    "load_target",
    "load_task",
    "metrics",
    "plan",
]
