"""Core ML by coremltools, on macOS only: elsewhere coremltools neither compiles nor predicts.

Threads cannot be set. The compute units are a wish: Core ML chooses for each operation. Its compute plan
(MLComputePlan, macOS 14.4 and later) tells which device it prefers for each one, not where it ran.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from edgekit_runner.backends import (
    Arrays,
    Feeds,
    NotReported,
    OpCall,
    Session,
    TensorInfo,
    check_options,
    missing,
)
from edgekit_runner.errors import MissingRuntime, RunnerError, UnsupportedPlatform, UserError, first_line

FORMAT = "coreml"
SUFFIX = ".mlpackage"
RUNTIME = "Core ML"
DISTRIBUTION = "coremltools"
OPTIONS = ("compute_units",)
_UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
_NOT_ASKED = "not asked: the compute plan loads the model a second time"
_DTYPES = {65552: "float16", 65568: "float32", 65600: "float64", 131104: "int32"}


def load_runtime() -> str:
    """Imports coremltools and returns its version.

    Raises:
        UnsupportedPlatform: This is not macOS.
        MissingRuntime: coremltools does not import.
    """
    if sys.platform != "darwin":
        raise UnsupportedPlatform(
            "Core ML runs on macOS only; run this there, or prove its outputs with `edgekit verify`."
        )
    try:
        import coremltools
    except ImportError as error:
        raise MissingRuntime(missing(DISTRIBUTION, error)) from None
    return str(coremltools.__version__)


def open(path: str, threads: int, options: Mapping[str, Any]) -> Session:
    """Opens a .mlpackage.

    Args:
        threads: Has no effect.
        options: `compute_units`, by default "ALL".

    Raises:
        UserError: An option is wrong, or this is no model.
    """
    check_options(OPTIONS, options, RUNTIME)
    units = options.get("compute_units", "ALL")
    if units not in _UNITS:
        raise UserError(f"option 'compute_units' is {units!r}; allowed: {', '.join(_UNITS)}.")
    version = load_runtime()
    import coremltools

    try:
        model = coremltools.models.MLModel(path, compute_units=coremltools.ComputeUnit[units])
    except Exception as error:  # the framework's exceptions share no base class
        raise UserError(f"{path} is not a model that {RUNTIME} loads: {first_line(error)}") from None
    return CoreMlSession(model, version, coremltools.ComputeUnit[units])


def choices() -> dict[str, tuple[Any, ...]]:
    """Options worth sweeping: the compute units."""
    return {"compute_units": _UNITS}


def profile(
    path: str, threads: int, options: Mapping[str, Any], feeds: Feeds, runs_count: int
) -> list[OpCall]:
    """Times no operator: Core ML does so in Xcode's performance report only.

    Raises:
        NotReported: Always.
    """
    raise NotReported(f"{RUNTIME} gives no profile per operator to programs; use Xcode's performance report.")


class CoreMlSession(Session):
    """An `MLModel`. Multi-array inputs and outputs only."""

    def __init__(self, model: Any, version: str, units: Any) -> None:
        self._model = model
        self._units = units
        self._feeds: dict[str, Any] = {}
        self._results: dict[str, Any] = {}
        self.runtime_version = version
        description = model.get_spec().description
        self.inputs = tuple(_info(feature) for feature in description.input)
        self.outputs = tuple(_info(feature) for feature in description.output)

    def feed(self, feeds: Feeds) -> None:
        """Keeps the arrays; `predict` copies them."""
        self._feeds = dict(feeds)

    def invoke(self) -> None:
        """Runs one `predict`, which includes its copies.

        Raises:
            RunnerError: Core ML failed.
        """
        try:
            self._results = self._model.predict(self._feeds)
        except Exception as error:  # the framework's exceptions share no base class
            raise RunnerError(f"{RUNTIME} failed to run the model: {first_line(error)}") from None

    def fetch(self) -> Arrays:
        """The outputs in the order of the description."""
        import numpy

        return {info.name: numpy.asarray(self._results[info.name]) for info in self.outputs}

    def placement(self) -> dict[str, Any]:
        """What was asked for; `nodes` tells what is preferred, and nothing tells what was used."""
        return {
            "source": "unknown",
            "requested_compute_units": self._units.name,
            "used_compute_units": "unknown",
            "nodes": None,
            "nodes_reason": _NOT_ASKED,
        }

    def nodes(self) -> tuple[str, dict[str, int]]:
        """Operations by the device that Core ML prefers for them; constants run nowhere.

        Raises:
            NotReported: There is no compute plan.
        """
        try:
            from coremltools.models.compute_plan import MLComputePlan

            path = self._model.get_compiled_model_path()
            plan = MLComputePlan.load_from_path(path, compute_units=self._units)
            program = plan.model_structure.program
        except Exception as error:  # the framework's exceptions share no base class
            raise NotReported(
                f"{RUNTIME} gives no compute plan here (macOS 14.4 or later does): {first_line(error)}"
            ) from None
        if program is None:
            raise NotReported("the compute plan tells of ML programs only; convert to one.")
        usage = plan.get_compute_device_usage_for_mlprogram_operation
        places = Counter(
            _device(usage(operation))
            for function in program.functions.values()
            for operation in _operations(function.block)
            if operation.operator_name.rpartition(".")[2] != "const"
        )
        return "MLComputePlan, the devices that Core ML prefers", dict(places)


def _operations(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def _device(usage: Any) -> str:
    """ "CPU", "GPU" or "NeuralEngine"; "unknown" where the plan does not say."""
    if usage is None:
        return "unknown"
    return type(usage.preferred_compute_device).__name__.removeprefix("ML").removesuffix("ComputeDevice")


def _info(feature: Any) -> TensorInfo:
    array = feature.type.multiArrayType
    dtype = _DTYPES.get(int(array.dataType), "float32")
    return TensorInfo(name=feature.name, shape=tuple(map(int, array.shape)), dtype=dtype)
