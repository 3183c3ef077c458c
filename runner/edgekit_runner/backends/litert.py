"""LiteRT (the TensorFlow Lite runtime), by its `Interpreter`, with the XNNPACK delegate as it comes."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit_runner.errors import MissingRuntime, RunnerError, UserError, first_line

from . import Session, TensorInfo, check_options, dtype_name, flag, missing

if TYPE_CHECKING:
    from . import Arrays, Feeds

FORMAT = "tflite"
SUFFIX = ".tflite"
RUNTIME = "LiteRT"
DISTRIBUTION = "ai-edge-litert"
OPTIONS = ("xnnpack",)


def load_runtime() -> str:
    """Imports the interpreter and returns the version. Raises `MissingRuntime`."""
    try:
        import ai_edge_litert
        import ai_edge_litert.interpreter
    except ImportError as error:
        raise MissingRuntime(missing(DISTRIBUTION, error)) from None
    return str(getattr(ai_edge_litert, "__version__", "unknown"))


def open(path: str, threads: int, options: Mapping[str, Any]) -> Session:
    """Opens a .tflite file. Option `xnnpack` (default true): false runs the built-in kernels."""
    check_options(OPTIONS, options, RUNTIME)
    xnnpack = flag(options, "xnnpack", True)
    version = load_runtime()
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(
            model_path=path, num_threads=threads, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a model that {RUNTIME} {version} loads: {first_line(error)}"
        ) from None
    return LiteRtSession(interpreter, version)


class LiteRtSession(Session):
    """An allocated `Interpreter`. Inputs and outputs are in the order of the main subgraph."""

    def __init__(self, interpreter: Any, version: str) -> None:
        self._interpreter = interpreter
        self.runtime_version = version
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(_info(detail) for detail in inputs)
        self.outputs = tuple(_info(detail) for detail in outputs)
        self._input_index = {detail["name"]: detail["index"] for detail in inputs}
        self._output_index = {detail["name"]: detail["index"] for detail in outputs}
        self._shapes = {detail["name"]: tuple(map(int, detail["shape"])) for detail in inputs}

    def feed(self, feeds: "Feeds") -> None:
        """Copies the inputs in; a free dimension is resized first. Raises `RunnerError`."""
        resized = {name: array for name, array in feeds.items() if array.shape != self._shapes[name]}
        try:
            for name, array in resized.items():
                self._interpreter.resize_tensor_input(self._input_index[name], array.shape)
                self._shapes[name] = array.shape
            if resized:
                self._interpreter.allocate_tensors()
            for name, array in feeds.items():
                self._interpreter.set_tensor(self._input_index[name], array)
        except (ValueError, RuntimeError) as error:
            raise RunnerError(f"{RUNTIME} did not take the input: {first_line(error)}") from None

    def invoke(self) -> None:
        """One inference. Raises `RunnerError`."""
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise RunnerError(f"{RUNTIME} failed to run the model: {first_line(error)}") from None

    def fetch(self) -> "Arrays":
        """Copies of the outputs."""
        return {name: self._interpreter.get_tensor(index) for name, index in self._output_index.items()}

    def placement(self) -> dict[str, Any]:
        """The nodes that the interpreter lists. A delegate shows as DELEGATE nodes beside the ops it took
        over; the runtime does not tell from Python which op went where.
        """
        try:
            listed = Counter(str(node["op_name"]) for node in self._interpreter._get_ops_details())
        except (AttributeError, KeyError, TypeError):  # a private method: it may go
            return {"source": "unknown", "delegate_nodes_count": "unknown", "model_ops_count": "unknown"}
        delegates = listed.pop("DELEGATE", 0)
        return {
            "source": "Interpreter._get_ops_details",
            "delegate_nodes_count": delegates,
            "model_ops_count": sum(listed.values()),
        }


def _info(detail: Any) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    signature = detail.get("shape_signature")
    shape = detail["shape"] if signature is None or len(signature) == 0 else signature
    return TensorInfo(
        name=detail["name"],
        shape=tuple(map(int, shape)),
        dtype=dtype_name(detail["dtype"]),
        scale=float(scale) if scale else None,
        zero_point=int(zero_point) if scale else None,
    )
