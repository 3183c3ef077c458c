"""Intermediate tensors of a Core ML program in edgekit's own interpreter, which calls a hook for every floating result.

Operations are named after the program's nodes; a half-precision one has "_cast_fp16" behind it. Integers behind a
`quantize` are not shown: the `dequantize` that follows is.
"""

from collections.abc import Mapping

import numpy as np

from edgekit.verify.blame.match import Run, Tensor
from edgekit.verify.mil.interpreter import Interpreter, Result
from edgekit.verify.mil.package import Package

HALF = "_cast_fp16"


def tensors(path: str) -> list[Tensor]:
    """Lists every floating result of the program, in order."""
    return [
        Tensor(spec.name, op.type, spec.shape, tuple(op.names_read()), hint=spec.name.removesuffix(HALF))
        for op in Package(path).operations
        if not op.is_constant
        for spec in op.outputs
        if spec.dtype.startswith("float")
    ]


def open_values(path: str, names: list[str], fused: bool = False) -> Run:
    """Opens the package and returns a function that gives some tensors for one sample, as stored.

    Args:
        path: The .mlpackage.
        names: The tensors to give; half precision is rounded to its grid.
        fused: Has no effect here: the interpreter fuses nothing.
    """
    wanted, kept = set(names), dict[str, np.ndarray]()

    def keep(result: Result) -> None:
        if result.spec.name in wanted:
            kept[result.spec.name] = result.stored.numpy().copy()

    interpreter = Interpreter(Package(path), hook=keep)

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept.clear()
        interpreter.run(feeds)
        return dict(kept)

    return run
