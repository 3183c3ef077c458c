"""What makes a file wrong where it is wrong: the operator that was compared, or one that only moves numbers.

Operators are compared where the file and the program both have them. What stands between, reshapes and the like, has no
partner, so its fault would show in the operator behind it, or only in the answers. Such a fault is named here:

1. an operator that moves numbers and hands on others than it got, before the first operator that is off;
2. a concatenation on whose grid that first operator lives, in the file but not in the program;
3. where every operator that was compared is right and the answers are not: what stands behind the last of them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from edgekit.records import ChannelDegradation, LayerDegradation
from edgekit.verify.blame import moves
from edgekit.verify.blame.graph_walk import Program
from edgekit.verify.blame.match import Match, Tensor, same_grid
from edgekit.verify.blame.units import Grid, depends_on_input, family, is_dialect, squeezed

END_DB = 20.0  # rounding ties on a grid finer than the one before it stay above this
_HEAVY = ("cat", "resize")


def cause(
    program: Program,
    matches: Sequence[Match],
    rows: Sequence[LayerDegradation],
    end: ChannelDegradation | None,
    tensors: Sequence[Tensor],
    values: Mapping[str, np.ndarray],
) -> LayerDegradation | None:
    """Finds what really causes the first wrong row, or wrong answers, if it is not that row itself.

    Args:
        program: The candidate's program.
        matches: The operators found in the file.
        rows: What the comparison found for each of them.
        end: The weakest channel of the answers behind what was compared.
        tensors: Every tensor of the file.
        values: The values of `moves.watched(tensors)` for one sample.
    """
    first = next((row for row in rows if row.wrong), None)
    place = {tensor.name: i for i, tensor in enumerate(tensors)}
    moved = next(iter(moves.wrong_moves(tensors, values)), None)
    if moved is not None and (first is None or place[moved.tensor.name] < place[first.tensor]):
        return _row(program, matches, moved.tensor, moved.reason)
    if first is not None:
        return _asked_for(program, matches, first, tensors)
    return _behind(program, matches, end) if end is not None and end.snr_db < END_DB else None


def is_off(rows: Sequence[LayerDegradation], end: ChannelDegradation | None) -> bool:
    """Whether an operator that was compared is wrong, or the answers behind them are."""
    return any(row.wrong for row in rows) or (end is not None and end.snr_db < END_DB)


def _asked_for(
    program: Program, matches: Sequence[Match], first: LayerDegradation, tensors: Sequence[Tensor]
) -> LayerDegradation | None:
    match = next(m for m in matches if m.tensor.name == first.tensor)
    ours, theirs = match.unit.grid, match.tensor.grid
    if ours is None or theirs is None or same_grid(ours, theirs):
        return None
    joined = moves.joined_behind(tensors, first.tensor)
    if joined is None:
        return None
    reason = (
        f"the file gives all that it joins one grid of {_ends(theirs)}, and {match.unit.op} of "
        f"{match.unit.module or 'the model'}, which it joins, needs {_ends(ours)}"
    )
    return _row(program, matches, joined, reason)


def _ends(grid: Grid) -> str:
    """The numbers that 256 integers of the grid span, whether they are stored signed or not."""
    low = (0 if grid[1] >= 0 else -128) - grid[1]
    return f"{low * grid[0]:.4g} to {(low + 255) * grid[0]:.4g}"


def _behind(program: Program, matches: Sequence[Match], end: ChannelDegradation) -> LayerDegradation:
    """The nodes between the last operators that were compared and an output."""
    placed = {name for m in matches for name in (*m.unit.chain, m.unit.codes, *m.unit.reads)}
    live = depends_on_input(program.module)
    nodes = {node.name: node for node in program.module.graph.nodes}
    left, found = [nodes[name] for name in program.outputs], []
    while left:
        node = left.pop()
        if node.name in placed or node not in live or node in found:
            continue
        found += [] if node.op == "placeholder" or is_dialect(node) else [node]
        left += node.all_input_nodes
    names = ", ".join(str(node.target).removeprefix("aten.") for node in reversed(found))
    heavy = [node for node in found if family(str(node.target)) in _HEAVY]
    node = (heavy or found or [nodes[program.outputs[0]]])[0]
    reason = f"behind the operators that were compared stand {names or 'conversions of numbers alone'}, and {end.output} keeps {end.snr_db:.1f} dB"
    return _harm(node.name, "", str(node.target).removeprefix("aten."), "", reason)


def _row(program: Program, matches: Sequence[Match], tensor: Tensor, reason: str) -> LayerDegradation:
    match = next((m for m in matches if m.tensor.name == tensor.name), None)
    if match is not None:
        return _harm(match.unit.node, match.unit.module, match.op, tensor.name, reason)
    alike = [
        node.name
        for node in depends_on_input(program.module)
        if node.op == "call_function"
        and family(str(node.target)) == family(tensor.op)
        and squeezed(node.meta["val"].shape) == squeezed(tensor.shape)
    ]
    return _harm(alike[0] if len(alike) == 1 else "", "", tensor.op, tensor.name, reason)


def _harm(node: str, module: str, op: str, tensor: str, reason: str) -> LayerDegradation:
    return LayerDegradation(
        node=node, module=module, op=op, tensor=tensor, matched="order", snr_db=None, local_snr_db=None,
        max_abs_error=None, wrong=True, reason=reason,
    )  # fmt: skip
