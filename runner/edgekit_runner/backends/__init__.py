"""Backends, one runtime a file, found by their module name; a new runtime is one new file here.

Several may open one format: the first by name does, unless the spec names another as its `runtime`.

A backend module holds:
    FORMAT        the format's name in specs and manifests, such as "onnx"
    SUFFIX        of the files it opens, such as ".onnx"
    RUNTIME       the name of the runtime for a person
    DISTRIBUTION  what `pip install` takes
    OPTIONS       the names that `options` may hold
    load_runtime() -> str                            imports the runtime, returns its version; MissingRuntime
    open(path, threads, options) -> Session          UserError when it is not a model of this format
    choices() -> {option: values}                    options worth sweeping on this machine
    profile(path, threads, options, feeds, runs_count) -> [OpCall]   `runs_count` runs, after one that is left out;
                                                     NotReported where the runtime has no profiler

The runtime is imported in `load_runtime` only, so that looking a backend up costs nothing.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from edgekit_runner.errors import RunnerError, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Feeds = Mapping[str, "NDArray[Any]"]
Arrays = dict[str, "NDArray[Any]"]


class NotReported(RunnerError):
    """The runtime does not tell this to a program; the message says who does. Not a failure of the model."""


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """An input or output.

    Attributes:
        name: Its name in the artifact.
        shape: -1 for a free dimension.
        dtype: The name that numpy has for it.
        scale: Of the real value (stored - zero_point) * scale; None where the artifact does not say.
        zero_point: The same.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, kw_only=True)
class OpCall:
    """One operator of one run.

    Attributes:
        name: Of the node.
        op: Its operator.
        where: Where the runtime says that it ran.
        seconds: Its own, without those of the nodes that it runs inside (the body of a loop).
    """

    name: str
    op: str
    where: str
    seconds: float


class Session(ABC):
    """An opened artifact. `run` is feed, invoke, fetch; they are apart so that only `invoke` is timed.

    Feeds and results are in the artifact's own dtype and shape; `feeds` converts.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    runtime_version: str

    @abstractmethod
    def feed(self, feeds: Feeds) -> None:
        """Hands the inputs to the runtime (a copy, where the runtime copies)."""

    @abstractmethod
    def invoke(self) -> None:
        """Runs one inference on what was fed last.

        Raises:
            RunnerError: The runtime failed.
        """

    @abstractmethod
    def fetch(self) -> Arrays:
        """The outputs of the last `invoke`, by name, as arrays of their own."""

    @abstractmethod
    def placement(self) -> dict[str, Any]:
        """Where the work ran as the runtime itself reports it, as far as asking is cheap; never assumed.

        Returns:
            `source`, who says so, and `nodes`, a count by place, or None with `nodes_reason`.
        """

    def nodes(self) -> "tuple[str, dict[str, int]]":
        """How many nodes run in each place, by the runtime's own report; may be slow.

        Returns:
            Who says so, and a count by place.

        Raises:
            NotReported: Only a profile tells, or nothing does.
        """
        raise NotReported("this runtime does not tell which node runs where.")

    def continued(self, feeds: Feeds) -> Feeds:
        """The inputs of a further run; those of a stream hold the state that the run before has left."""
        return feeds

    def run(self, feeds: Feeds) -> Arrays:
        """feed, invoke, fetch."""
        self.feed(feeds)
        self.invoke()
        return self.fetch()


def names() -> tuple[str, ...]:
    """The module names of all backends, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def load(name: str) -> Any:
    """The backend module of that name."""
    return importlib.import_module(f"{__name__}.{name}")


def find(path: str, format_name: str | None = None, runtime: str | None = None) -> Any:
    """The backend for an artifact.

    Args:
        path: The artifact, whose suffix decides where no format is given.
        format_name: The name of its format.
        runtime: The module name of a backend; None for the first that opens the format.

    Raises:
        UserError: No backend opens it; the message lists what there is.
    """
    if runtime is not None and runtime not in names():
        raise UserError(f"unknown runtime {runtime!r}; allowed: {', '.join(names())}.")
    modules = [load(name) for name in names() if runtime in (None, name)]
    if format_name is not None:
        for module in modules:
            if format_name == module.FORMAT:
                return module
        raise UserError(
            f"unknown format {format_name!r}; allowed: {', '.join(dict.fromkeys(m.FORMAT for m in modules))}."
        )
    suffix = PurePath(path).suffix.lower()
    for module in modules:
        if suffix == module.SUFFIX:
            return module
    allowed = ", ".join(dict.fromkeys(module.SUFFIX for module in modules))
    who = "this runner" if runtime is None else modules[0].RUNTIME
    raise UserError(f"{path} is not a model {who} knows by its suffix; allowed: {allowed}.")


def check_options(module_options: tuple[str, ...], options: Mapping[str, Any], runtime: str) -> None:
    """Looks for options that the backend does not have.

    Args:
        module_options: The options that it has.
        options: What was given.
        runtime: The name of the runtime.

    Raises:
        UserError: It does not have one of them.
    """
    for name in options:
        if name not in module_options:
            allowed = ", ".join(module_options) or "none"
            raise UserError(f"{runtime} has no option {name!r}; allowed: {allowed}.")


def flag(options: Mapping[str, Any], name: str, default: bool) -> bool:
    """The value of a boolean option.

    Args:
        options: What was given.
        name: The option.
        default: Its value where it was not given.

    Raises:
        UserError: It is not a boolean.
    """
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise UserError(f"option {name!r} is {value!r}; allowed: true, false.")
    return value


def missing(distribution: str, error: ImportError) -> str:
    """The sentence of a `MissingRuntime`."""
    absent = isinstance(error, ModuleNotFoundError)
    why = "is not installed" if absent else f"is installed but does not import ({error})"
    return f"{distribution} {why}; run: pip install {distribution}"


def dtype_name(dtype: "np.dtype[Any] | type | str") -> str:
    """The name that numpy has for a dtype.

    Raises:
        TypeError: numpy has none.
    """
    import numpy

    return str(numpy.dtype(dtype).name)
