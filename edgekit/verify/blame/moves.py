"""Operators of a file that only move numbers, compared with what they read, and the grid that a concatenation asks for.

A reshape, transpose or concatenation must hand on the very numbers that it reads; a quantize behind them may round, not
clip. No program is needed to see that they do not. Integer runtimes want one grid for everything that a concatenation
joins: a converter that takes the grid of one operand for all of them saturates the others, and the layers that make them
look wrong although it is the concatenation that asks for it.

This runs only where something is already wrong, to say what. Cost: one inference that shows these tensors.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edgekit.verify.blame.match import Tensor
from edgekit.verify.blame.units import Grid, family

_PERMUTES = re.compile(r"^(reshape|transpose|concat|concatenation|squeeze|expanddims|unsqueeze|flatten|cat)$")
TOLERANCE_STEPS = 1.5


class Moved(NamedTuple):
    """An operator that hands on other numbers than it read.

    Attributes:
        tensor: What it makes.
        reason: What is wrong with that, in words.
    """

    tensor: Tensor
    reason: str


def watched(tensors: Sequence[Tensor]) -> list[str]:
    """The tensors that have to be seen: the results of such operators, and what they read of other operators' results."""
    made = {tensor.name for tensor in tensors}
    moves = [tensor for tensor in tensors if _moves(tensor) and made.issuperset(tensor.reads)]
    return list(dict.fromkeys(name for tensor in moves for name in (*tensor.reads, tensor.name)))


def wrong_moves(tensors: Sequence[Tensor], values: Mapping[str, np.ndarray]) -> list[Moved]:
    """The operators that hand on other numbers than they read, in the order of the file."""
    known = {tensor.name: tensor for tensor in tensors}
    found = []
    for tensor in tensors:
        if not _moves(tensor) or not all(name in values for name in (tensor.name, *tensor.reads)):
            continue
        got = np.concatenate([_real(values[name], known[name].grid).ravel() for name in tensor.reads])
        given = _real(values[tensor.name], tensor.grid).ravel()
        step = max([0.0, *(g[0] for name in (tensor.name, *tensor.reads) if (g := known[name].grid))])
        if got.size == given.size and _far(np.sort(got), np.sort(given), step):
            found.append(Moved(_named(tensors, tensor), _reason(got, given)))
    return found


def joined_behind(tensors: Sequence[Tensor], name: str) -> Tensor | None:
    """The concatenation that reads tensor `name`, moved or not, and has the same grid: it asked for that grid."""
    known = {tensor.name: tensor for tensor in tensors}
    grid, reached = known[name].grid, {name}
    for tensor in tensors:
        kind = family(tensor.op)
        if grid is None or tensor.grid != grid or not reached.intersection(tensor.reads):
            continue
        if kind == "cat":
            return tensor
        if kind in ("move", "quantize"):
            reached.add(tensor.name)
    return None


def _moves(tensor: Tensor) -> bool:
    plain = tensor.op.replace("_", "").lower()
    return bool(_PERMUTES.match(plain)) or plain == "quantize"


def _named(tensors: Sequence[Tensor], wrong: Tensor) -> Tensor:
    """A quantize that clips stands for the concatenation that reads it."""
    return (joined_behind(tensors, wrong.name) or wrong) if family(wrong.op) == "quantize" else wrong


def _far(got: np.ndarray, given: np.ndarray, step: float) -> bool:
    size = float(np.abs(got).max(initial=0.0))
    return not bool(np.abs(got - given).max(initial=0.0) <= TOLERANCE_STEPS * step + 1e-3 * size)


def _reason(got: np.ndarray, given: np.ndarray) -> str:
    return f"it gets numbers of {got.min():.4g} to {got.max():.4g} and hands on {given.min():.4g} to {given.max():.4g}"


def _real(array: np.ndarray, grid: Grid | None) -> np.ndarray:
    return array.astype(np.float64) if grid is None else (array.astype(np.float64) - grid[1]) * grid[0]
