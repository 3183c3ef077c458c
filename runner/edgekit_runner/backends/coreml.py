"""Core ML by coremltools, on macOS only: elsewhere coremltools neither compiles nor predicts.

Threads cannot be set. The compute units are a wish: Core ML chooses for each operation, so the placement
is "unknown" unless a runtime report says otherwise.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit_runner.errors import MissingRuntime, RunnerError, UnsupportedPlatform, UserError, first_line

from . import Session, TensorInfo, check_options, missing

if TYPE_CHECKING:
    from . import Arrays, Feeds

FORMAT = "coreml"
SUFFIX = ".mlpackage"
RUNTIME = "Core ML"
DISTRIBUTION = "coremltools"
OPTIONS = ("compute_units",)
_UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
_DTYPES = {65552: "float16", 65568: "float32", 65600: "float64", 131104: "int32"}


def load_runtime() -> str:
    """Imports coremltools and returns its version. Raises `UnsupportedPlatform` or `MissingRuntime`."""
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
    """Opens a .mlpackage. Option `compute_units` (default "ALL"); `threads` has no effect."""
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
    return CoreMlSession(model, version, units)


class CoreMlSession(Session):
    """An `MLModel`. Multi-array inputs and outputs only."""

    def __init__(self, model: Any, version: str, units: str) -> None:
        self._model = model
        self._units = units
        self._feeds: dict[str, Any] = {}
        self._results: dict[str, Any] = {}
        self.runtime_version = version
        description = model.get_spec().description
        self.inputs = tuple(_info(feature) for feature in description.input)
        self.outputs = tuple(_info(feature) for feature in description.output)

    def feed(self, feeds: "Feeds") -> None:
        """Keeps the arrays; `predict` copies them."""
        self._feeds = dict(feeds)

    def invoke(self) -> None:
        """One `predict`, which includes its copies. Raises `RunnerError`."""
        try:
            self._results = self._model.predict(self._feeds)
        except Exception as error:  # the framework's exceptions share no base class
            raise RunnerError(f"{RUNTIME} failed to run the model: {first_line(error)}") from None

    def fetch(self) -> "Arrays":
        """The outputs in the order of the description."""
        import numpy

        return {info.name: numpy.asarray(self._results[info.name]) for info in self.outputs}

    def placement(self) -> dict[str, Any]:
        """What was asked for; what was used is not reported here."""
        return {"source": "unknown", "requested_compute_units": self._units, "used_compute_units": "unknown"}


def _info(feature: Any) -> TensorInfo:
    array = feature.type.multiArrayType
    dtype = _DTYPES.get(int(array.dataType), "float32")
    return TensorInfo(name=feature.name, shape=tuple(map(int, array.shape)), dtype=dtype)
