"""OpenVINO on the CPU: the same ONNX files, in kernels of its own.

Left alone, OpenVINO computes float layers in bfloat16 or float16 where the processor has them, and so answers otherwise
than the file says. The hints here hold it to the file: float stays float32, one stream, as many threads as asked for.
"""

import sys
from collections.abc import Mapping
from typing import Any

from edgekit_runner.backends import (
    Arrays,
    Feeds,
    OpCall,
    Session,
    TensorInfo,
    check_options,
    dtype_name,
    missing,
)
from edgekit_runner.errors import MissingRuntime, RunnerError, UserError

FORMAT = "onnx"
SUFFIX = ".onnx"
RUNTIME = "OpenVINO"
DISTRIBUTION = "openvino"
OPTIONS = ("precision",)
_PRECISIONS = ("f32", "bf16", "f16")
_TELEMETRY = "openvino_telemetry"
_SOURCE = "CompiledModel.get_runtime_model"
_NOT_WORK = ("Input", "Output", "Const", "Parameter", "Result")


def load_runtime() -> str:
    """Imports OpenVINO and returns its version.

    Its telemetry package is kept out: importing OpenVINO imports it, with everything that sends over a network.

    Raises:
        MissingRuntime: It does not import.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise MissingRuntime(missing(DISTRIBUTION, error)) from None
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    return str(openvino.__version__).partition("-")[0]


def choices() -> dict[str, tuple[Any, ...]]:
    """Options worth sweeping: the precisions that float layers may be computed in."""
    return {"precision": _PRECISIONS}


def open(path: str, threads: int, options: Mapping[str, Any]) -> Session:
    """Opens an ONNX file.

    Args:
        options: `precision`, what float layers are computed in, by default "f32" as the file says.

    Raises:
        UserError: An option is wrong, or this is no model.
    """
    return OpenVinoSession(*_compiled(path, settings(threads, options)))


def settings(threads: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """The properties that a model is compiled with.

    Raises:
        UserError: An option is wrong.
    """
    check_options(OPTIONS, options, RUNTIME)
    precision = options.get("precision", "f32")
    if precision not in _PRECISIONS:
        raise UserError(f"option 'precision' is {precision!r}; allowed: {', '.join(_PRECISIONS)}.")
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "EXECUTION_MODE_HINT": "ACCURACY",  # else groups of weights and activations are rounded further on their own
        "ENABLE_CPU_PINNING": False,  # the caller binds the process
    }


def profile(
    path: str, threads: int, options: Mapping[str, Any], feeds: Feeds, runs_count: int
) -> list[OpCall]:
    """Each node of each run, from the runtime's own counters, in a session of its own: counting costs time.

    Raises:
        UserError: An option is wrong, or this is no model.
        RunnerError: The runtime failed.
    """
    session = OpenVinoSession(*_compiled(path, {**settings(threads, options), "PERF_COUNT": True}))
    session.feed(feeds)
    session.invoke()
    found: list[OpCall] = []
    for _ in range(runs_count):
        session.invoke()
        found += session.calls()
    return found


def _compiled(path: str, properties: Mapping[str, Any]) -> tuple[Any, str]:
    version = load_runtime()
    import openvino

    try:
        core = openvino.Core()
        return core.compile_model(core.read_model(path), "CPU", dict(properties)), version
    except RuntimeError as error:
        raise UserError(f"{path} is not a model that {RUNTIME} {version} loads: {_reason(error)}") from None


def _reason(error: RuntimeError) -> str:
    """The last line: those before it are places in OpenVINO's sources."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


class OpenVinoSession(Session):
    """A compiled model and one request of it. Free dimensions are -1."""

    def __init__(self, compiled: Any, version: str) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self.runtime_version = version
        self._fed: Arrays = {}
        self.inputs = tuple(_info(port) for port in compiled.inputs)
        self.outputs = tuple(_info(port) for port in compiled.outputs)

    def feed(self, feeds: Feeds) -> None:
        """Hands the arrays over, and keeps them: the runtime reads them in place, and holds no reference to them.

        Raises:
            RunnerError: The runtime does not take one.
        """
        import numpy
        import openvino

        for port, info in zip(self._compiled.inputs, self.inputs, strict=True):
            array = self._fed[info.name] = numpy.asarray(feeds[info.name], order="C")
            try:
                self._request.set_tensor(port, openvino.Tensor(array, shared_memory=True))
            except RuntimeError as error:
                raise RunnerError(f"{RUNTIME} does not take input {info.name!r}: {_reason(error)}") from None

    def invoke(self) -> None:
        """Runs one inference on what was fed last.

        Raises:
            RunnerError: The runtime failed.
        """
        try:
            self._request.infer(share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise RunnerError(f"{RUNTIME} failed to run the model: {_reason(error)}") from None

    def fetch(self) -> Arrays:
        """Copies of the output tensors, which the next run overwrites."""
        return {
            info.name: self._request.get_output_tensor(i).data.copy() for i, info in enumerate(self.outputs)
        }

    def placement(self) -> dict[str, Any]:
        """The device, and its nodes after the runtime's own optimizer."""
        source, nodes = self.nodes()
        return {"source": source, "nodes": nodes, "nodes_reason": None}

    def nodes(self) -> tuple[str, dict[str, int]]:
        """How many nodes the CPU runs: it leaves nothing to another device."""
        executed = self._compiled.get_runtime_model().get_ordered_ops()
        count = sum(str(_value(op, "layerType")) not in _NOT_WORK for op in executed)
        return _SOURCE, {"CPU": count}

    def calls(self) -> list[OpCall]:
        """The nodes of the last run; needs the property PERF_COUNT."""
        return [
            OpCall(
                name=each.node_name, op=each.node_type, where="CPU", seconds=each.real_time.total_seconds()
            )
            for each in self._request.get_profiling_info()
            if each.status == each.Status.EXECUTED and each.node_type not in _NOT_WORK
        ]


def _value(op: Any, key: str) -> Any:
    """What the runtime notes about a node of its execution graph."""
    held = op.get_rt_info()
    return held[key].astype(str) if key in held else ""


def _info(port: Any) -> TensorInfo:
    shape = tuple(dim.get_length() if dim.is_static else -1 for dim in port.get_partial_shape())
    return TensorInfo(name=_name(port), shape=shape, dtype=dtype_name(port.get_element_type().to_dtype()))


def _name(port: Any) -> str:
    """The name in the file: the runtime may have others for the same tensor, and "/sink_port_0" on the node of an output."""
    names, node = port.get_names(), port.get_node().get_friendly_name()
    own = node.partition("/sink_port_")[0]
    return str(own if own in names or not names else sorted(names)[0])
