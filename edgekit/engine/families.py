"""Families of frameworks: what a warm server imports once, so that the stages it forks need not.

A family stands on another one: its server is forked from that one's, so that torch is imported once and its pages are
shared by all. What starts threads when it is imported (onnxruntime does) is left to the stage.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the stages of one kind have in common.

    Attributes:
        modules: What is imported, in this order; what is not installed is left to the stage to miss.
        on: The family it stands on; empty is a bare interpreter.
        without: What its modules must not find while they are imported: coremltools imports all of TensorFlow and
            scikit-learn where they are installed, 8 s that no conversion of a torch program needs.
    """

    modules: tuple[str, ...]
    on: str = ""
    without: tuple[str, ...] = ()


TORCH, TENSORFLOW = "torch", "tensorflow"
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        TORCH: Family(
            modules=(
                "torch",
                "torchvision",
                "torchao.quantization.pt2e",
                "scipy.optimize",
                "networkx",
                "torch._functorch.aot_autograd",
                "torch._export.passes",
                "edgekit.trace.stage",
                "edgekit.techniques._stage",
                "edgekit.techniques.ptq",
                "edgekit.verify.golden_check",
                "edgekit.verify.prove",
                "edgekit.verify.blame.stage",
                "edgekit.export._stage",
            )
        ),
        "onnx": Family(
            on=TORCH,
            modules=(
                "onnx",
                "onnxscript.function_libs.torch_lib.ops",
                "onnxscript.rewriter",
                "edgekit.export._onnx_passes",
            ),
        ),
        "tflite": Family(on=TORCH, modules=("litert_torch", "edgekit.export.tflite")),
        "coreml": Family(
            on=TORCH, modules=("coremltools", "edgekit.export.coreml"), without=("tensorflow", "sklearn")
        ),
        TENSORFLOW: Family(on=TORCH, modules=("tensorflow",)),
    }
)


def known(name: str) -> str:
    """Returns the family that a stage runs in: one without a row of its own finds what it needs by itself."""
    return name if name in FAMILIES else TORCH


def chain(name: str) -> tuple[str, ...]:
    """Returns a family and those that it stands on, the lowest first."""
    return (*chain(FAMILIES[name].on), name) if name else ()


def load_if_hiding(name: str) -> None:
    """Imports a family in a fresh interpreter where its modules must not find others; what else a stage needs it imports."""
    if name and FAMILIES[name].without:
        for each in chain(name):
            load(each)


def load(name: str) -> None:
    """Imports a family's own modules; what it stands on is there already."""
    family = FAMILIES[name]
    with _hidden(family.without):
        for module in family.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)


@contextlib.contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Hides modules that nobody has imported yet; the user's code finds them afterwards."""
    missing = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # None makes an import fail
    try:
        yield
    finally:
        for name in missing:
            sys.modules.pop(name, None)
