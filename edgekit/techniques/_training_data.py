"""The training data that a technique cannot do without."""

from edgekit.errors import TaskError
from edgekit.task import Task, Training


def training_of(task: Task, technique: str) -> Training:
    """Returns the task's training data.

    Raises:
        TaskError: It has none.
    """
    if task.training is None:
        raise TaskError(
            f"task {task.name!r} has no training data; {technique} needs Training(batches=..., loss=...)"
        )
    return task.training
