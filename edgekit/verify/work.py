"""What a runtime executes of a file, operator by operator: kind, arithmetic and multiply-accumulates.

Each back end reads its own graph, after the runtime's own optimizer where there is one: `graphs/<runtime>.read(path)`.
Counting work and not operators tells a decoder of one large float convolution from one of ten small ones.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

MIN_WEIGHT_ELEMENTS = 256  # smaller constants are biases, scales and shapes
NO_WEIGHT = ("int16", "int32", "int64", "bool")  # biases of integer layers, shapes, indices


class Operator(NamedTuple):
    """One operator as it is executed.

    Attributes:
        kind: Its type in the runtime's own graph, such as "CONV_2D".
        dtype: What it computes in, "int8", or what it reads and writes, "int8->int8".
        macs: Its multiply-accumulates for one inference; 0 where it multiplies nothing.
    """

    kind: str
    dtype: str
    macs: int = 0


class ExecutedGraph(NamedTuple):
    """What a runtime executes.

    Attributes:
        operators: In the order of the graph.
        weight_bytes: Dtype -> bytes of the stored constants with MIN_WEIGHT_ELEMENTS elements or more, without biases
            and indices.
    """

    operators: tuple[Operator, ...]
    weight_bytes: dict[str, int]

    def counts(self) -> dict[str, int]:
        """Counts the operators by kind and dtype ("CONV_2D:int8->int8"), in the order of the graph."""
        return dict(Counter(f"{op.kind}:{op.dtype}" for op in self.operators))


def bytes_by_dtype(constants: Iterable[tuple[str, Sequence[int], int]]) -> dict[str, int]:
    """Sums the bytes of constants, given as (dtype, shape, bytes), by dtype; small ones are left out."""
    found: Counter[str] = Counter()
    for dtype, shape, size in constants:
        if len(shape) > 1 and prod(shape) >= MIN_WEIGHT_ELEMENTS and dtype not in NO_WEIGHT:
            found[dtype] += size
    return dict(found)


def product(left: Sequence[int], result: Sequence[int]) -> int:
    """The multiply-accumulates of [..., M, K] x [..., K, N] -> [..., M, N]; the left operand may be stored transposed."""
    matrices = len(left) >= 2 <= len(result) and result[-2]
    shared = prod(left[-2:]) // result[-2] if matrices else prod(left[-1:])
    return prod(result) * shared
