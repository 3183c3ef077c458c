"""What a reference names: a task in a file, "file.py:task", or in an importable module, "package.module:task".

The attribute is a `Task`, or a function that returns one; settings, which are text, are passed to the function.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.engine import task_modules
from edgekit.engine.user_code import run_user_code
from edgekit.errors import TaskError
from edgekit.task import Task

SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def load_task(reference: str, settings: Mapping[str, str] | None = None) -> Task:
    """Imports "file.py:attr" or "package.module:attr" and returns the Task there.

    Args:
        reference: What names it.
        settings: Passed to the attribute if it is a function.

    Raises:
        TaskError: There is no such file, module or attribute, the module raises, or the attribute is not a Task.
    """
    return _as_task(attribute(reference), reference, dict(settings or {}))


def attribute(reference: str) -> Any:
    """Returns what "file.py:attr" or "package.module:attr" names.

    Raises:
        TaskError: As for `load_task`.
    """
    place, name = split_reference(reference)
    module = _load_file(Path(place)) if place.endswith(".py") else _import_module(place)
    try:
        return getattr(module, name)
    except AttributeError:
        public = [name for name, value in vars(module).items() if isinstance(value, Task) or callable(value)]
        raise no_attribute(place, name, public) from None


def split_reference(reference: str) -> tuple[str, str]:
    """Returns the file or module, and the attribute, that a reference names.

    Raises:
        TaskError: It does not name both.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise TaskError(
            f"task {reference!r} has no attribute; write it as file.py:task or package.module:task"
        )
    return place, name


def no_attribute(place: str, name: str, others: Iterable[str]) -> TaskError:
    """Returns the error of a name that a file or module does not have."""
    names = ", ".join(n for n in others if not n.startswith("_")) or "none"
    return TaskError(f"{place} has no attribute {name!r}; it has: {names}")


def no_settings(reference: str, settings: Iterable[str]) -> TaskError:
    """Returns the error of settings that are given for a task that is no function."""
    return TaskError(f"{reference} is a Task, not a function: it takes no settings, given {sorted(settings)}")


def build(reference: str) -> Any:
    """Calls the function that "file.py:attr?key=value&key=value" names, with these settings.

    Raises:
        TaskError: It does not take the settings.
    """
    place, _, query = reference.partition("?")
    found = attribute(place)
    if not query:
        return found
    if not callable(found):
        raise TaskError(f"{place} is a {type(found).__name__}, not a function: it takes no settings")
    settings = dict(pair.partition("=")[::2] for pair in query.split("&"))
    return partial(found, **convert_settings(_defaults(found), place, settings))


def _as_task(found: Any, reference: str, settings: dict[str, str]) -> Task:
    if isinstance(found, Task):
        if settings:
            raise no_settings(reference, settings)
        return found
    if not callable(found):
        raise TaskError(
            f"{reference} is a {type(found).__name__}; it must be an edgekit.Task or a function returning one"
        )
    values = convert_settings(_defaults(found), reference, settings)
    task = run_user_code(lambda: found(**values), reference)
    if not isinstance(task, Task):
        raise TaskError(f"{reference}() returned a {type(task).__name__}; it must return an edgekit.Task")
    return task


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: each.default for name, each in inspect.signature(function).parameters.items()}


def convert_settings(
    defaults: Mapping[str, Any], reference: str, settings: Mapping[str, str]
) -> dict[str, Any]:
    """Converts texts of the command line to the types of a function's defaults.

    Args:
        defaults: The function's parameters -> their defaults; what is no number and no truth value stands for text.
        reference: What errors call the function.
        settings: Parameter -> text.

    Raises:
        TaskError: There is no such parameter, or a text does not fit its type.
    """
    values: dict[str, Any] = {}
    for key, text in settings.items():
        if key not in defaults:
            raise TaskError(f"{reference} takes no setting {key!r}; allowed: {', '.join(defaults) or 'none'}")
        default = defaults[key]
        kind = type(default) if isinstance(default, int | float) else str
        try:
            values[key] = SWITCH[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            wanted = "true or false" if kind is bool else kind.__name__
            raise TaskError(f"setting {key}={text!r} of {reference}: expected {wanted}") from None
    return values


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TaskError(f"task file {path} does not exist")
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # as `python file.py` would: the file may import its neighbours
        sys.path.insert(0, folder)
    spec = task_modules.spec_of(path.resolve())
    if spec is None or spec.loader is None:
        raise TaskError(f"task file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    run_user_code(lambda: spec.loader.exec_module(module), str(path))  # type: ignore[union-attr]
    return module


def _import_module(name: str) -> ModuleType:
    top = name.split(".", maxsplit=1)[0]
    if not top or importlib.util.find_spec(top) is None:
        raise TaskError(f"task module {name} does not exist; for a file write its path with .py")
    return run_user_code(lambda: importlib.import_module(name), name)
