"""OpenVINO on the CPU, as a backend of the runner: `_timing` puts a copy of this file among the others.

It opens OpenVINO's own .xml and, for the float side of a comparison, an .onnx file as well. What is not int8 runs in
float32: left alone, OpenVINO takes bfloat16 on processors that have it, and "float" would mean something else.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit_runner.backends import Session, TensorInfo, check_options, dtype_name, missing
from edgekit_runner.errors import MissingRuntime, RunnerError, UserError, first_line

if TYPE_CHECKING:
    from edgekit_runner.backends import Arrays, Feeds

FORMAT = "openvino"
SUFFIX = ".xml"
RUNTIME = "OpenVINO"
DISTRIBUTION = "openvino"
OPTIONS = ()


def load_runtime() -> str:
    """Imports OpenVINO and returns its version. Raises `MissingRuntime`."""
    try:
        import openvino
    except ImportError as error:
        raise MissingRuntime(missing(DISTRIBUTION, error)) from None
    return str(openvino.__version__)


def open(path: str, threads: int, options: Mapping[str, Any]) -> Session:
    """Opens a model for one stream of `threads` threads."""
    check_options(OPTIONS, options, RUNTIME)
    version = load_runtime()
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        compiled = openvino.Core().compile_model(path, "CPU", settings)
    except RuntimeError as error:
        raise UserError(
            f"{path} is not a model that {RUNTIME} {version} loads: {first_line(error)}"
        ) from None
    return OpenvinoSession(compiled, version)


class OpenvinoSession(Session):
    """One infer request of a compiled model."""

    def __init__(self, compiled: Any, version: str) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self.runtime_version = version
        self.inputs = tuple(_info(port) for port in compiled.inputs)
        self.outputs = tuple(_info(port) for port in compiled.outputs)

    def feed(self, feeds: "Feeds") -> None:
        """Copies the inputs in."""
        for name, array in feeds.items():
            self._request.get_tensor(name).data[:] = array

    def invoke(self) -> None:
        """One inference. Raises `RunnerError`."""
        try:
            self._request.infer()
        except RuntimeError as error:
            raise RunnerError(f"{RUNTIME} failed to run the model: {first_line(error)}") from None

    def fetch(self) -> "Arrays":
        """Copies of the outputs."""
        return {info.name: self._request.get_tensor(info.name).data.copy() for info in self.outputs}

    def placement(self) -> dict[str, Any]:
        """The devices that the compiled model names."""
        devices = [str(device) for device in self._compiled.get_property("EXECUTION_DEVICES")]
        return {"source": "CompiledModel EXECUTION_DEVICES", "devices": devices}


def _info(port: Any) -> TensorInfo:
    shape = tuple(d.get_length() if d.is_static else -1 for d in port.partial_shape)
    return TensorInfo(name=port.any_name, shape=shape, dtype=dtype_name(port.element_type.to_dtype()))
