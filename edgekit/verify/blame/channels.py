"""Which channel of which output lost its signal, and which unit of the program takes it away.

Over all numbers of all outputs, boxes in pixels drown scores of 0 to 1. So every channel of every output (see
`edgekit.arrays.slice_axis`) is judged by its own signal, or by that of the channels of its magnitude. Where one is lost,
each unit of the program rounds alone while everything else stays float, and what is left of that channel tells which unit
takes it: concatenations, reshapes and resizes are units like any other here. A quantize that belongs to no unit, such as
that of an operand brought to the grid of a concatenation, counts for the unit behind it.

Cost: a walk of the program for each unit and sample, only where a channel is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.fx import Node

from edgekit.arrays import slice_axis
from edgekit.records import ChannelDegradation
from edgekit.verify.blame.graph_walk import Difference, Program
from edgekit.verify.blame.units import Unit, family, is_dialect

LOST_CHANNEL_DB = (
    10.0  # the noise is a third of the signal; sound int8 files of trained networks keep 13 to 60 dB
)
NEAR_DB = 6.0  # a unit that alone comes this near to all together accounts for most of the loss
SAMPLES = 2


class Outputs:
    """The error of every output, as a whole and by channel.

    Args:
        names: What the outputs are called.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._found: list[Difference] = []
        self._whole = Difference()

    @property
    def snr_db(self) -> float | None:
        """The signal-to-error ratio over all numbers of all outputs; None where there is no error."""
        return self._whole.snr_db

    def add(self, right: Sequence[torch.Tensor], got: Sequence[torch.Tensor]) -> None:
        """Adds one sample: the right answers and those to compare with them, one tensor for each output."""
        if not self._found:
            self._found = [Difference(axis=slice_axis(tensor.shape)) for tensor in right]
        for difference, a, b in zip(self._found, right, got, strict=True):
            difference.add(a, b)
            self._whole.add(a, b)

    def weakest(self) -> ChannelDegradation | None:
        """The channel that keeps the least of its signal; None where no output has any."""
        every = [
            (db, channel, place)
            for place, found in enumerate(self._found)
            for channel, db in found.channels_db()
        ]
        if not every:
            return None
        db, channel, place = min(every)
        own = [snr for snr, _, where in every if where == place]
        return ChannelDegradation(
            output=self._names[place],
            channel=channel if self._found[place].has_channels else None,
            snr_db=db,
            lost=sum(snr < LOST_CHANNEL_DB for snr in own),
            channels=len(own),
            limit_db=LOST_CHANNEL_DB,
        )

    def place(self, degraded: ChannelDegradation) -> int:
        """The index of the output that `degraded` names."""
        return self._names.index(degraded.output)


@dataclass(frozen=True)
class Culprit:
    """What takes a channel away.

    Attributes:
        unit: The unit of the program.
        snr_db: What is left of the channel's signal where this unit alone rounds.
        alone: Whether the unit accounts for most of the loss, rather than the sum of many.
        operands: The range (low, high) of each operand, where the unit is a concatenation.
    """

    unit: Unit
    snr_db: float
    alone: bool
    operands: tuple[tuple[float, float], ...] = ()


def culprit(
    program: Program, samples: Sequence[Sequence[np.ndarray]], output: int, degraded: ChannelDegradation
) -> Culprit:
    """Finds the unit that leaves the least of a channel.

    Args:
        program: A quantized program, with unfolded weights.
        samples: One list of [1, ...] arrays for each sample.
        output: The index of the output.
        degraded: The channel that lost its signal.
    """
    node = program.outputs[output]
    channel = degraded.channel or 0
    float_ = [program.values(sample, {node}, rounding=False)[node] for sample in samples[:SAMPLES]]
    left: list[tuple[Unit, float]] = []
    for unit, own in _owned(program, node):
        difference = Difference(axis=slice_axis(float_[0].shape))
        for sample, right in zip(samples, float_, strict=False):
            difference.add(right, program.values(sample, {node}, rounding=own)[node])
        left.append((unit, dict(difference.channels_db()).get(channel, float("inf"))))
    worst = min(db for _, db in left)
    first, db = next((unit, db) for unit, db in left if db <= worst + 1.0)
    joined = _joined(program, first, [unit for unit, _ in left])
    named = joined or first
    ranges = _ranges(program, joined, samples[0]) if joined is not None else ()
    return Culprit(named, db, db <= max(degraded.snr_db, 0.0) + NEAR_DB, ranges)


def _owned(program: Program, output: str) -> list[tuple[Unit, set[str]]]:
    """The units before an output, each with the quantize and dequantize nodes that round for it."""
    nodes = {node.name: node for node in program.module.graph.nodes}
    before = _before(nodes[output])
    owner = {name: unit.node for unit in program.units for name in (unit.codes, *unit.reads)}
    inside = {name: unit.node for unit in program.units for name in unit.chain}
    owned: dict[str, set[str]] = {unit.node: set() for unit in program.units}
    for node in before:
        if not is_dialect(node):
            continue
        own = owner.get(node.name) or next((inside[n.name] for n in _behind(node) if n.name in inside), None)
        if own is not None:
            owned[own].add(node.name)
    return [(unit, owned[unit.node]) for unit in program.units if owned[unit.node]]


def _before(node: Node) -> set[Node]:
    found, left = set[Node](), [node]
    while left:
        last = left.pop()
        if last not in found:
            found.add(last)
            left += last.all_input_nodes
    return found


def _behind(node: Node) -> list[Node]:
    """The operators that read a node, looking through any quantize and dequantize."""
    found: list[Node] = []
    for user in node.users:
        found += _behind(user) if is_dialect(user) else [user]
    return found


def _joined(program: Program, first: Unit, known: Sequence[Unit]) -> Unit | None:
    """The concatenation that shares its grid with `first`, and so is what asks for that grid."""
    units = {unit.node: unit for unit in known}
    nodes = {node.name: node for node in program.module.graph.nodes}
    left, seen = [nodes[first.node]], set[Node]()
    while left:
        node = left.pop(0)
        unit = units.get(node.name)
        if unit is not None and unit.family == "cat" and unit.grid == first.grid:
            return unit
        if node in seen or (unit is not None and unit.grid != first.grid):
            continue
        seen.add(node)
        left += [
            user for user in node.users if is_dialect(user) or family(str(user.target)) in ("move", "cat")
        ]
    return None


def _ranges(program: Program, unit: Unit, sample: Sequence[np.ndarray]) -> tuple[tuple[float, float], ...]:
    node = next(node for node in program.module.graph.nodes if node.name == unit.node)
    names = [operand.name for operand in node.all_input_nodes]
    values = program.values(sample, names, rounding=False)
    return tuple((float(values[name].min()), float(values[name].max())) for name in names)
