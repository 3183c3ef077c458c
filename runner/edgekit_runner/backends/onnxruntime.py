"""ONNX Runtime on the CPU.

One inter-op thread and `threads` intra-op threads that do not spin: a spinning thread burns CPU time
that is not the model's, and steals it from the others on a shared machine.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit_runner.errors import MissingRuntime, RunnerError, UserError, first_line

from . import Session, TensorInfo, check_options, dtype_name, flag, missing

if TYPE_CHECKING:
    from . import Arrays, Feeds

FORMAT = "onnx"
SUFFIX = ".onnx"
RUNTIME = "ONNX Runtime"
DISTRIBUTION = "onnxruntime"
OPTIONS = ("optimize",)
_PROVIDERS = ["CPUExecutionProvider"]
_DTYPES = {"float": "float32", "double": "float64", "bool": "bool"}
_QUIET = 3


def load_runtime() -> str:
    """Imports ONNX Runtime and returns its version. Raises `MissingRuntime`."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingRuntime(missing(DISTRIBUTION, error)) from None
    onnxruntime.set_default_logger_severity(_QUIET)
    return str(onnxruntime.__version__)


def open(path: str, threads: int, options: Mapping[str, Any]) -> Session:
    """Opens an ONNX file. Option `optimize` (default true): false turns every graph optimization off."""
    check_options(OPTIONS, options, RUNTIME)
    optimize = flag(options, "optimize", True)
    version = load_runtime()
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _QUIET
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(path, settings, providers=_PROVIDERS)
    except MemoryError:
        raise
    except Exception as error:  # the runtime's exceptions share no base class
        raise UserError(
            f"{path} is not a model that {RUNTIME} {version} loads: {first_line(error)}"
        ) from None
    return OnnxSession(session, version)


class OnnxSession(Session):
    """An `InferenceSession` on the CPU provider. Free dimensions are -1."""

    def __init__(self, session: Any, version: str) -> None:
        self._session = session
        self._feeds: dict[str, Any] = {}
        self._results: list[Any] = []
        self.runtime_version = version
        self.inputs = tuple(_info(arg) for arg in session.get_inputs())
        self.outputs = tuple(_info(arg) for arg in session.get_outputs())
        self._names = [info.name for info in self.outputs]

    def feed(self, feeds: "Feeds") -> None:
        """Keeps the arrays: the runtime reads them in place."""
        self._feeds = dict(feeds)

    def invoke(self) -> None:
        """One `run`. Raises `RunnerError`."""
        try:
            self._results = self._session.run(self._names, self._feeds)
        except Exception as error:  # the runtime's exceptions share no base class
            raise RunnerError(f"{RUNTIME} failed to run the model: {first_line(error)}") from None

    def fetch(self) -> "Arrays":
        """The arrays that `run` returned."""
        return dict(zip(self._names, self._results, strict=True))

    def placement(self) -> dict[str, Any]:
        """The providers that the session says it holds."""
        return {"source": "InferenceSession.get_providers", "providers": list(self._session.get_providers())}


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
