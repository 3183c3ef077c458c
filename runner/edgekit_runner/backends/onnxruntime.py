"""ONNX Runtime, on the CPU unless `providers` asks for more.

One inter-op thread and `threads` intra-op threads that do not spin: a spinning thread burns CPU time that is not the
model's, and steals it from the others on a shared machine.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit_runner.backends import (
    Arrays,
    Feeds,
    OpCall,
    Session,
    TensorInfo,
    check_options,
    dtype_name,
    flag,
    missing,
)
from edgekit_runner.backends._onnx_profile import op_calls
from edgekit_runner.errors import MissingRuntime, RunnerError, UserError, first_line
from edgekit_runner.host import telemetry

FORMAT = "onnx"
SUFFIX = ".onnx"
RUNTIME = "ONNX Runtime"
DISTRIBUTION = "onnxruntime"
OPTIONS = ("optimize", "providers")
_CPU = "CPUExecutionProvider"
_REMOTE = "AzureExecutionProvider"
_DTYPES = {"float": "float32", "double": "float64", "bool": "bool"}
_QUIET = 3
_NOT_ASKED = "not asked: which node runs where shows in a profiled session only"


def load_runtime() -> str:
    """Imports ONNX Runtime and returns its version.

    Its telemetry is switched off: besides what it tells, it costs a thread, 2 MB and a file in the folder for temporary
    files.

    Raises:
        MissingRuntime: It does not import.
    """
    telemetry.switch_off()
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingRuntime(missing(DISTRIBUTION, error)) from None
    onnxruntime.set_default_logger_severity(_QUIET)
    return str(onnxruntime.__version__)


def choices() -> dict[str, tuple[Any, ...]]:
    """Options worth sweeping here: each local provider with the CPU behind it.

    Raises:
        MissingRuntime: ONNX Runtime does not import.
    """
    return {"providers": tuple(name for name in _available() if name != _REMOTE)}


def open(path: str, threads: int, options: Mapping[str, Any]) -> Session:
    """Opens an ONNX file.

    Args:
        options: `optimize` (default true; false turns every graph optimization off) and `providers` (a list or a text
            with commas, first choice first; the CPU takes what they leave).

    Raises:
        UserError: An option is wrong, or this is no model.
    """
    check_options(OPTIONS, options, RUNTIME)
    settings, asked, version = _settings(threads, options), _providers(options), load_runtime()
    return OnnxSession(_load(path, settings, asked, version), version, asked)


def profile(
    path: str, threads: int, options: Mapping[str, Any], feeds: Feeds, runs_count: int
) -> list[OpCall]:
    """Each node of each run, from the runtime's own profiler, in a session of its own: profiling costs time.

    The profiler counts whole microseconds, rounded down: short nodes come out too short.

    Raises:
        UserError: An option is wrong, or this is no model.
        RunnerError: The runtime failed, or its profiler lost some runs.
    """
    import shutil
    import tempfile

    check_options(OPTIONS, options, RUNTIME)
    settings, asked, version = _settings(threads, options), _providers(options), load_runtime()
    with tempfile.TemporaryDirectory(prefix="edgekit-runner-", ignore_cleanup_errors=True) as folder:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "profile")
        session = OnnxSession(_load(path, settings, asked, version), version, asked)
        stream = next(Path(folder).iterdir()).open(encoding="utf-8")
        if os.name == "posix":  # without a name it goes with this process, also when that is killed
            shutil.rmtree(folder)
        session.feed(feeds)
        for _ in range(runs_count + 1):
            session.invoke()
        session.end_profiling()
        with stream:
            events = json.load(stream)
    return op_calls(events, runs_count)


def _available() -> list[str]:
    load_runtime()
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _providers(options: Mapping[str, Any]) -> list[str]:
    given = options.get("providers", _CPU)
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    available = _available()
    if not isinstance(names, list | tuple) or not names or any(name not in available for name in names):
        raise UserError(f"option 'providers' is {given!r}; available here: {', '.join(available)}.")
    return list(dict.fromkeys([*names, _CPU]))


def _settings(threads: int, options: Mapping[str, Any]) -> Any:
    optimize = flag(options, "optimize", True)
    load_runtime()
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _QUIET
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return settings


def _load(path: str, settings: Any, providers: list[str], version: str) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(path, settings, providers=providers)
    except MemoryError:
        raise
    except Exception as error:  # the runtime's exceptions share no base class
        raise UserError(
            f"{path} is not a model that {RUNTIME} {version} loads: {first_line(error)}"
        ) from None


class OnnxSession(Session):
    """An `InferenceSession` and the providers it was asked for. Free dimensions are -1."""

    def __init__(self, session: Any, version: str, asked: list[str]) -> None:
        self._session = session
        self._asked = asked
        self._feeds: dict[str, Any] = {}
        self._results: list[Any] = []
        self.runtime_version = version
        self.inputs = tuple(_info(arg) for arg in session.get_inputs())
        self.outputs = tuple(_info(arg) for arg in session.get_outputs())
        self._names = [info.name for info in self.outputs]

    def feed(self, feeds: Feeds) -> None:
        """Keeps the arrays: the runtime reads them in place."""
        self._feeds = dict(feeds)

    def invoke(self) -> None:
        """Runs one `run`.

        Raises:
            RunnerError: The runtime failed.
        """
        try:
            self._results = self._session.run(self._names, self._feeds)
        except Exception as error:  # the runtime's exceptions share no base class
            raise RunnerError(f"{RUNTIME} failed to run the model: {first_line(error)}") from None

    def fetch(self) -> Arrays:
        """The arrays that `run` returned."""
        return dict(zip(self._names, self._results, strict=True))

    def placement(self) -> dict[str, Any]:
        """The providers that the session says it holds; which node runs where only a profile tells."""
        held = list(self._session.get_providers())
        return {
            "source": "InferenceSession.get_providers",
            "providers": held,
            "refused_providers": [name for name in self._asked if name not in held],
            "nodes": None,
            "nodes_reason": _NOT_ASKED,
        }

    def end_profiling(self) -> str:
        """The path of the profile that this session wrote."""
        return str(self._session.end_profiling())


def _info(arg: Any) -> TensorInfo:
    kind = str(arg.type).removeprefix("tensor(").removesuffix(")")
    try:
        dtype = dtype_name(_DTYPES.get(kind, kind))
    except TypeError:
        dtype = "object"
    if not dtype.startswith(("float", "int", "uint", "bool")):
        raise UserError(
            f"tensor {arg.name!r} is of type {arg.type}; this runner takes numbers that numpy has."
        )
    shape = tuple(d if isinstance(d, int) else -1 for d in arg.shape or ())
    return TensorInfo(name=arg.name, shape=shape, dtype=dtype)
