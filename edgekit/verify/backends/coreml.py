"""Core ML packages, executed op by op by edgekit's own ML Program interpreter: no Mac, no coremltools at run time."""

from collections.abc import Mapping

import msgspec
import numpy as np

from edgekit.records import Artifact, Lint
from edgekit.verify.graphs.coreml import read
from edgekit.verify.lint import MIN_SHARE, build_lint
from edgekit.verify.mil.interpreter import Interpreter
from edgekit.verify.mil.package import Package
from edgekit.verify.predict import Session

CHIPS = "integers where the chip multiplies them (A17 Pro, M4 and later); others compute the same layers in float16"


class _Interpreted:
    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    def run(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return self._interpreter.run(feeds)


def open_session(path: str, exact: bool = False) -> Session:
    """Opens a package in the interpreter.

    Args:
        path: The .mlpackage.
        exact: Whether to round nothing beyond the stored weights; without it, float16 results are rounded after every
            operation.
    """
    return _Interpreted(Interpreter(Package(path), precision="float32" if exact else "float16"))


def lint(artifact: Artifact, min_share: float = MIN_SHARE) -> Lint:
    """Judges the operations of the main function by the type they compute in; constants are left out."""
    found = build_lint(artifact, read(artifact.path), min_share=min_share)
    if artifact.precision != "int8":
        return found
    return msgspec.structs.replace(found, notes=(*found.notes, CHIPS))
