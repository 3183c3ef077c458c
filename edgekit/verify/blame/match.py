"""Finds the operators of a file that are units of a program.

A file's operators are grouped as the program's are, then paired in order so that the sum of evidence is largest (a
longest common subsequence; Needleman and Wunsch 1970). A pair needs the same dimensions, and the same kind or the
same name; a name and a quantization grid that agree count more. Where names do not survive (TFLite), a pair rests on
order, kind and shape: each pair says which. The comparison then confirms it: tensors that agree in a thousand
numbers are no coincidence. Cost: the product of the two lengths, milliseconds for a network.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from edgekit.verify.blame.units import Grid, Unit, family, squeezed

A = TypeVar("A")
B = TypeVar("B")
Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
COMPUTE = ("mac", "add", "mul")
SAME_SCALE = 1e-3  # relative


@dataclass(frozen=True)
class Tensor:
    """What a file knows of one tensor that an operator makes.

    Attributes:
        name: What the backend calls it.
        op: The type of the operator that makes it.
        shape: Its shape in the file.
        reads: The names of the tensors that the operator reads.
        grid: The grid of its integers, where there is one for the whole tensor.
        hint: The node of the program that it is named after, where names survive.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    reads: tuple[str, ...]
    grid: Grid | None = None
    hint: str = ""


@dataclass
class Group:
    """Operators of a file that are one unit.

    Attributes:
        op: The type of the main operator.
        value: The tensor that leaves the group.
        codes: Its integers, which may be the same tensor.
        clips: Whether an activation that clips is part of the group.
        hints: The nodes of the program that its tensors are named after.
    """

    op: str
    value: Tensor
    codes: Tensor | None = None
    clips: bool = False
    hints: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Match:
    """A unit and the tensor of the file that holds it.

    Attributes:
        unit: The unit of the program.
        op: The type of the file's operator.
        tensor: The tensor.
        at: The node of the program that is compared with the tensor.
        by: What the match rests on.
    """

    unit: Unit
    op: str
    tensor: Tensor
    at: str
    by: Literal["name", "order"]


def match(program: Sequence[Unit], tensors: Sequence[Tensor], outputs: Sequence[str]) -> list[Match]:
    """Finds every unit that has a partner in the file.

    Args:
        program: The units, in order.
        tensors: The tensors of the file, in order.
        outputs: The nodes that the file calls output_0, output_1, ...
    """
    renamed = {f"output_{i}": name for i, name in enumerate(outputs)}

    def score(unit: Unit, group: Group) -> float:
        named = bool(
            {renamed.get(hint, hint) for hint in group.hints}.intersection((*unit.chain, unit.codes))
        )
        same = unit.family == family(group.op) or (unit.op == "input" and group.op == "input")
        if squeezed(unit.shape) != squeezed(group.value.shape) or not (named or same):
            return 0.0
        grid = group.codes is not None and same_grid(unit.grid, group.codes.grid)
        return 1.0 + 3.0 * named + grid + (0.5 if unit.channels else 0.0)

    return [_match(unit, group, renamed) for unit, group in align(program, groups(tensors), score)]


def _match(unit: Unit, group: Group, renamed: Mapping[str, str]) -> Match:
    names = {renamed.get(hint, hint) for hint in group.hints}
    by: Literal["name", "order"] = "name" if names.intersection((*unit.chain, unit.codes)) else "order"
    if group.codes is not None and unit.codes:
        return Match(unit, group.op, group.codes, unit.codes, by)
    unclipped = (
        unit.clips and not group.clips and bool(group.hints)
    )  # a file that keeps names shows its clips
    return Match(unit, group.op, group.value, unit.chain[-2] if unclipped else unit.value, by)


def groups(tensors: Sequence[Tensor]) -> list[Group]:
    """Groups the operators of a file into units; those that only move or convert data are left out."""
    made: dict[str, Group] = {}
    found: list[Group] = []
    readers = Counter(name for tensor in tensors for name in tensor.reads)
    known = {tensor.name for tensor in tensors}
    for tensor in tensors:
        kind = family(tensor.op)
        source = next((name for name in tensor.reads if name in made), "")
        before = made.get(source)
        if kind == "quantize":
            if before is not None and before.codes is None:
                before.codes, before.hints = tensor, before.hints | _hints(tensor)
            elif not known.intersection(tensor.reads):
                found.append(Group("input", tensor, tensor, hints=_hints(tensor)))
        elif before is not None and _joins(kind, before, readers[source]):
            before.value, before.clips = tensor, before.clips or kind == "clip"
            before.codes = tensor if tensor.grid else before.codes
            before.hints |= _hints(tensor)
            made[tensor.name] = before
        elif kind not in ("dequantize", "move"):
            group = Group(tensor.op, tensor, tensor if tensor.grid else None, hints=_hints(tensor))
            made[tensor.name] = group
            found.append(group)
    return found


def _joins(kind: str, before: Group, readers: int) -> bool:
    return kind in ("clip", "norm") and family(before.op) in COMPUTE and not before.clips and readers == 1


def _hints(tensor: Tensor) -> set[str]:
    return {tensor.hint} if tensor.hint else set()


def same_grid(ours: Grid | None, theirs: Grid | None) -> bool:
    """Whether two grids hold the same real numbers: signed integers may be stored unsigned, 128 higher."""
    if ours is None or theirs is None:
        return False
    return abs(theirs[0] - ours[0]) <= SAME_SCALE * ours[0] and theirs[1] - ours[1] in (-128, 0, 128)


def align(first: Sequence[A], second: Sequence[B], score: Callable[[A, B], float]) -> list[tuple[A, B]]:
    """Pairs two lists, keeping the order of both, so that the sum of scores is largest; a score of 0 or less is no pair."""
    best = [[0.0] * (len(second) + 1) for _ in range(len(first) + 1)]
    scores = [[score(a, b) for b in second] for a in first]
    for i in range(len(first) - 1, -1, -1):
        for j in range(len(second) - 1, -1, -1):
            paired = scores[i][j] + best[i + 1][j + 1] if scores[i][j] > 0 else 0.0
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        if scores[i][j] > 0 and best[i][j] == scores[i][j] + best[i + 1][j + 1]:
            pairs.append((first[i], second[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs
