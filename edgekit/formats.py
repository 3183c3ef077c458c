"""The tables of file formats and runtimes: what the host process must know of each, without importing one.

An exporter is a file `edgekit/export/<format>.py` and a row here. A back end is `edgekit/verify/backends/<runtime>.py`, with its graph
reader in `verify/graphs`, its values in `verify/blame` where layers are to be blamed, the runner's
`edgekit_runner/backends/<runtime>.py`, and a row here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Format:
    """What a file is written as.

    Attributes:
        name: The name of the exporter's module.
        packages: What writing it needs: module -> package as pip names it.
        takes_saved_model: Whether TensorFlow's own converter writes it, also from a SavedModel without a torch program.
        computes_in_half: Whether values between the layers of an int8 file are float16.
        free_axes: Whether the length of an axis can be chosen with every call.
    """

    name: str
    packages: Mapping[str, str]
    takes_saved_model: bool = False
    computes_in_half: bool = False
    free_axes: bool = False


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What a file is run by.

    Attributes:
        name: The name of the back end's module.
        packages: What running it here needs: module -> package as pip names it.
        systems: Where it can be timed, as `platform.system()` says it; empty is anywhere.
        elsewhere: Why it cannot be timed on another system.
        proof: The doubt about proving a file on another system; empty where the runtime itself runs.
        optional: Whether edgekit's own installation leaves it out; `edgekit[openvino]` and the like bring it.
        numpy_2_since: The first version that takes NumPy 2; "" where all do that are asked for.
        oldest: The oldest version that exported files of every kind were run in, as a manifest names it; "" where none was.
        fuses_integers: Whether its optimizer makes integer kernels of float operators between rounding ones, so that these
            are examined too.
    """

    name: str
    packages: Mapping[str, str]
    systems: tuple[str, ...] = ()
    elsewhere: str = ""
    proof: str = ""
    optional: bool = False
    numpy_2_since: str = ""
    oldest: str = ""
    fuses_integers: bool = False


FORMATS = MappingProxyType(
    {
        row.name: row
        for row in (
            Format(name="onnx", packages={"onnx": "onnx", "onnxscript": "onnxscript"}, free_axes=True),
            Format(
                name="tflite",
                packages={"litert_torch": "litert-torch", "ai_edge_litert": "ai-edge-litert"},
                takes_saved_model=True,
            ),
            Format(
                name="coreml",
                packages={"coremltools": "coremltools"},
                computes_in_half=True,
                free_axes=True,
            ),
        )
    }
)

RUNTIMES = MappingProxyType(
    {
        row.name: row
        for row in (
            Runtime(
                name="onnxruntime",
                packages={"onnxruntime": "onnxruntime"},
                numpy_2_since="1.19",
                oldest="1.17",
                fuses_integers=True,
            ),
            Runtime(
                name="openvino",
                packages={"openvino": "openvino"},
                optional=True,
                numpy_2_since="2024.6",
                oldest="2024.0",
            ),
            Runtime(
                name="litert",
                packages={"ai_edge_litert": "ai-edge-litert"},
                numpy_2_since="1.1",
                oldest="1.0",
            ),
            Runtime(
                name="coreml",
                packages={"coremltools": "coremltools"},
                systems=("Darwin",),
                elsewhere="Core ML runs on Apple devices only",
                proof="executed by edgekit's ML Program interpreter in ideal float16, not on an Apple device",
            ),
        )
    }
)


def check_format(name: str) -> None:
    """Checks the name of a format.

    Raises:
        ValueError: No row has that name.
    """
    if name not in FORMATS:
        raise ValueError(f"format is {name!r}; allowed: {', '.join(FORMATS)}")


def check_runtime(name: str) -> None:
    """Checks the name of a runtime.

    Raises:
        ValueError: No row has that name.
    """
    if name not in RUNTIMES:
        raise ValueError(f"runtime is {name!r}; allowed: {', '.join(RUNTIMES)}")
