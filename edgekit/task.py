"""The task: the user's model with what is needed to compress it and to judge the result.

`load_task("file.py:task")` reads one from a file, `load_task("package.module:task")` from an importable
module. The attribute is a `Task`, or a function that returns one; `settings` are passed to the function.
"""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.errors import EdgekitError, TaskError
from edgekit.records import Preprocessing, Record, TaskFacts

SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
FILE_MODULE = "edgekit_task_"  # what the modules of task files are called

MODEL_NAMES = ("timm", "torchvision", "hf")  # what stands before the colon of a model by name
Metric = Callable[[Callable[..., Any]], float]


@dataclass(frozen=True, kw_only=True)
class Training:
    """Data that opens the training techniques (qat, prune, distill).

    Attributes:
        batches: A re-iterable of (inputs, labels).
        loss: loss(outputs, labels) -> scalar tensor.
        unlabelled: A re-iterable of inputs alone, for distillation.
    """

    batches: Iterable[Any]
    loss: Callable[[Any, Any], Any]
    unlabelled: Iterable[Any] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Weights in a file, and the function that builds the module they are of: `Checkpoint("net.safetensors", build)`."""

    path: str | Path
    build: Callable[[], Any]


def is_folder(model: Any) -> bool:
    """Whether a model is the path of a SavedModel, and no name and no file of another kind."""
    if not isinstance(model, str | Path) or str(model).partition(":")[0] in MODEL_NAMES:
        return False
    return Path(model).is_dir() or not Path(model).suffix


@dataclass(frozen=True)
class Dim:
    """A free axis: `Dim("length", min=1, max=512)`."""

    name: str
    min: int = 1
    max: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise TaskError(f'the name of a free axis is {self.name!r}; give a word, such as "length"')
        if not isinstance(self.min, int) or self.min < 1 or (self.max is not None and self.max <= self.min):
            raise TaskError(
                f"the axis {self.name} goes from {self.min} to {self.max}; give whole numbers, the first at least 1 and below the second"
            )


@dataclass(frozen=True, kw_only=True)
class Task:
    """One trained model, its example input, and the data that compresses and judges it.

    Attributes:
        model: An nn.Module, a Keras 3 model, an exported program, a function without arguments that returns one of them, a
            `Checkpoint`, a name ("timm:NAME", "torchvision:NAME", "hf:FOLDER"), or the path of a `.pt2`, TorchScript or `.keras`
            file or of a TensorFlow SavedModel folder (TFLite targets only).
        example_inputs: What forward takes for one sample, in the model's own layout: a tuple of what it takes by position, or a
            dict of what it takes by name. Tensors with batch 1, [1, C, H, W] for an image in torch, [1, H, W, C] in Keras; lists,
            tuples and dicts of tensors; settings (None, True, 3, "text"), which are built into the artifact.
        metric: metric(predict) -> float, higher is better; `predict` is called as the model is, takes and returns what the
            model does in numpy arrays, for any batch size.
        calibration: A re-iterable of unlabelled input batches (tensor, array, a tuple of them, or a dict by name).
        training: Data for the training techniques.
        preprocessing: What the app must do to an image; None where the input is none, or nobody says.
        batch_axes: Input or output -> the axis of its samples, None where it has none; only where the shapes do not tell: the
            first axis of [1, ...], the second of a recurrent state [L, 1, ...].
        dynamic: Input -> axis -> the name of a free axis or its `Dim`; {} for none at all. None leaves the samples free on the
            targets that serve.
        state: Output -> the input that it is given to in the next call, as of a recurrent layer: {"h_out": "h"}.
    """

    name: str
    model: Any
    example_inputs: tuple[Any, ...] | Mapping[str, Any]
    metric: Metric
    calibration: Iterable[Any] | None = None
    training: Training | None = None
    preprocessing: Preprocessing | None = None
    batch_axes: Mapping[str, int | None] = field(default_factory=dict)
    dynamic: Mapping[str, Mapping[int, str | Dim]] | None = None
    state: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise TaskError(f"the task's name is {self.name!r}; it must be a non-empty string")
        if not isinstance(self.example_inputs, tuple | Mapping) or not self.example_inputs:
            given = type(self.example_inputs).__name__
            raise TaskError(
                f"example_inputs is a {given}; give a tuple of tensors, e.g. (torch.zeros(1, 3, 224, 224),), or a dict by the names "
                "of forward's parameters"
            )
        if not isinstance(self.batch_axes, Mapping) or not all(
            axis is None or type(axis) is int for axis in self.batch_axes.values()
        ):
            raise TaskError(f"batch_axes is {self.batch_axes!r}; give a dict of names -> axis or None")
        if self.dynamic is not None and not (
            isinstance(self.dynamic, Mapping)
            and all(isinstance(axes, Mapping) for axes in self.dynamic.values())
        ):
            raise TaskError(
                f'dynamic is {self.dynamic!r}; give a dict of inputs -> axes, e.g. {{"ids": {{0: "batch", 1: ek.Dim("length", max=512)}}}}'
            )
        if not callable(self.metric):
            raise TaskError(
                "metric is not callable; give a function metric(predict) -> float, higher is better"
            )
        if not callable(self.model) and not isinstance(self.model, str | Path | Checkpoint):
            raise TaskError(
                f"model is a {type(self.model).__name__}; give a torch.nn.Module, a Keras model, a function that returns "
                "one, or the path of a .pt2, TorchScript or .keras file or a SavedModel folder"
            )
        if self.calibration is not None and not _iterates_again(self.calibration):
            kind = (
                "one-shot iterator"
                if isinstance(self.calibration, Iterator)
                else type(self.calibration).__name__
            )
            raise TaskError(
                f"calibration is a {kind}; give something that can be iterated again: a list, a DataLoader, "
                "or an object with __iter__"
            )

    def facts(self) -> TaskFacts:
        """Returns what is known without building the model.

        Only the trace stage knows whether a function returns a Keras model.
        """
        named = isinstance(self.model, str | Path) and str(self.model).partition(":")[0] in MODEL_NAMES
        path = self.model if isinstance(self.model, str | Path) and not named else None
        return TaskFacts(
            name=self.name,
            calibration=self.calibration is not None,
            training=self.training is not None,
            torch=path is None or not Path(path).is_dir(),
            tensorflow=path is not None and (is_folder(path) or Path(path).suffix == ".keras"),
        )


def _iterates_again(batches: Any) -> bool:
    try:
        return iter(batches) is not batches
    except TypeError:
        return False


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
    task = _user_code(lambda: found(**values), reference)
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
    name = f"{FILE_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise TaskError(f"task file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _user_code(lambda: spec.loader.exec_module(module), str(path))  # type: ignore[union-attr]
    return module


def _import_module(name: str) -> ModuleType:
    top = name.split(".", maxsplit=1)[0]
    if not top or importlib.util.find_spec(top) is None:
        raise TaskError(f"task module {name} does not exist; for a file write its path with .py")
    return _user_code(lambda: importlib.import_module(name), name)


def _user_code(call: Callable[[], Any], where: str) -> Any:
    """Runs the user's code; what it raises becomes one sentence with the line it came from."""
    try:
        return call()
    except (EdgekitError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise TaskError(f"{where} raised {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Says where the user's own code raised an error: `ValueError: text (file.py, line 7)`."""
    ours, stack = Path(__file__).parent, traceback.extract_tb(error.__traceback__)
    frames = [f for f in stack if "importlib" not in f.filename and not Path(f.filename).is_relative_to(ours)]
    theirs = [f for f in frames if "site-packages" not in f.filename] or frames
    line = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:400]}{line}"
