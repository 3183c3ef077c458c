"""What a program is made of, read from the file without running it: the basis of a precision lint."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edgekit.verify.mil.ops import shape as shape_ops
from edgekit.verify.mil.package import Operation, Package

_NOT_COMPUTE = {*shape_ops.OPS, "cast", "dequantize", "gather", "identity", "quantize", "select"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a program is made of.

    Attributes:
        ops: (operation, output type) -> how many; `const` is left out.
        compute: Output type -> how many operations compute in it.
        casts: How many casts there are.
        weight_bytes: The size of the stored weights.
        spec_version: The Core ML specification version.
        opset: The name of the operation set.
    """

    ops: Counter[tuple[str, str]]
    compute: Counter[str]
    casts: int
    weight_bytes: int
    spec_version: int
    opset: str


def op_counts(package: Package) -> Counter[tuple[str, str]]:
    """Counts operations by (type, type of the first output); all but `const` are counted."""
    return Counter((op.type, _dtype(op)) for op in package.operations if op.type != "const")


def compute_ops_by_dtype(package: Package) -> Counter[str]:
    """Counts the operations that compute, by the type of their result.

    Whatever computes nothing is left out: constants, casts, quantize and dequantize, and moving data.
    """
    computing = (op for op in package.operations if not op.is_constant and op.type not in _NOT_COMPUTE)
    return Counter(_dtype(op) for op in computing)


def facts(package: Package) -> Facts:
    """Collects the counts, and what the package says of itself."""
    ops = op_counts(package)
    return Facts(
        ops=ops,
        compute=compute_ops_by_dtype(package),
        casts=sum(n for (kind, _), n in ops.items() if kind == "cast"),
        weight_bytes=package.weight_bytes,
        spec_version=package.spec_version,
        opset=package.opset,
    )


def _dtype(operation: Operation) -> str:
    return operation.outputs[0].dtype if operation.outputs else ""
