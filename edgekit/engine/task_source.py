"""How a child process gets the user's task: by its reference, or from a file that the parent pickled for it."""

import sys
from pathlib import Path

from edgekit.engine.task_modules import FILE_MODULE
from edgekit.engine.task_reference import load_task
from edgekit.errors import TaskError
from edgekit.records import Record
from edgekit.task import Task


class TaskSource(Record):
    """How a child process gets the task: by reference, or from a file that the parent pickled for it."""

    name: str
    reference: str | None = None
    settings: dict[str, str] = {}
    pickled: str | None = None

    def load(self) -> Task:
        """Returns the task.

        Raises:
            TaskError: The reference does not lead to a task.
        """
        if self.reference is not None:
            return load_task(self.reference, self.settings)
        import pickle

        with Path(str(self.pickled)).open("rb") as file:
            return pickle.load(file)


def pickle_task(task: Task, path: Path) -> TaskSource:
    """Writes an in-memory task for the child processes.

    Raises:
        TaskError: Something in it cannot be pickled.
    """
    import cloudpickle

    for name, module in list(sys.modules.items()):
        if name.startswith(FILE_MODULE):  # a task file has no importable name: its classes go by value
            cloudpickle.register_pickle_by_value(module)
    try:
        path.write_bytes(cloudpickle.dumps(task))
    except Exception as error:
        raise TaskError(
            f"task {task.name!r} cannot be handed to a child process: {error}. "
            "Keep open files and generators out of it, or give it as a reference: deploy('file.py:task')"
        ) from error
    return TaskSource(name=task.name, pickled=str(path))
