"""Compression: does the candidate's program track float, and which layer loses the most?

Both programs run on the same samples. A unit is judged alone: its inputs are replaced by the float ones, so what is left
is the cost of its own weights and its own output range. The error is that of the median channel: where one channel has a
hundred times the range of the others, the step that it dictates rounds all of them away, and the signal-to-error ratio
of the whole tensor, which that one channel makes, still looks good.

The reference is the traced float program where the layers pair; where a step before changed them (equalization,
pruning, training), it is the candidate's own program with every rounding left out.

A layer that keeps its own signal may still cost an output a channel: see `edgekit.verify.blame.channels`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.fx import GraphModule

from edgekit.records import ChannelDegradation, LayerDegradation
from edgekit.verify.blame.channels import LOST_CHANNEL_DB, Culprit, Outputs, culprit
from edgekit.verify.blame.graph_walk import Difference, Hook, Program, channel_axis, real, written
from edgekit.verify.blame.match import align
from edgekit.verify.blame.units import Unit

LAYER_DB = 20.0  # the median channel of a healthy 8-bit layer alone: 26 to 50 dB in every network tried
OUTLIER_RATIO = 20.0  # a channel this many times the median one is worth mentioning
SAME_DB = 15.0  # without rounding, a layer with only its bias corrected is above this, an equalized one below


class Lost(NamedTuple):
    """A channel of an output that lost its signal, and the unit that takes it."""

    degradation: ChannelDegradation
    culprit: Culprit


class Compression:
    """The comparison of a quantized program with its float reference.

    Args:
        candidate: The quantized program, with unfolded weights.
        traced: The traced float program.
        samples: One list of [1, ...] arrays for each sample.
        names: What the outputs are called.

    Attributes:
        outputs: The error of each output.
        own_float: Whether the reference is the candidate's own program without rounding.
    """

    def __init__(
        self,
        candidate: Program,
        traced: Program,
        samples: Sequence[Sequence[np.ndarray]],
        names: Sequence[str] = (),
    ) -> None:
        self._candidate, self._traced, self._samples = candidate, traced, samples
        self.own_float = not self._comparable()
        self._pairs = (
            [(unit, unit.value) for unit in candidate.units]
            if self.own_float
            else [(unit, other.value) for unit, other in _pairs(candidate, traced)]
        )
        self._free = {unit.node: Difference() for unit, _ in self._pairs}
        self._alone = {unit.node: Difference(axis=channel_axis(unit)) for unit, _ in self._pairs}
        self.outputs = Outputs(names or [f"output_{i}" for i in range(len(candidate.outputs))])
        for sample in samples:
            self._add(sample)

    def rows(self) -> tuple[LayerDegradation, ...]:
        """What each layer loses, in the order of the program."""
        return tuple(self._row(unit) for unit, _ in self._pairs)

    def lost(self) -> Lost | None:
        """The channel that lost its signal and what took it, if there is one."""
        weakest = self.outputs.weakest()
        if weakest is None or weakest.snr_db >= LOST_CHANNEL_DB:
            return None
        found = culprit(self._candidate, self._samples, self.outputs.place(weakest), weakest)
        return Lost(weakest, found)

    @property
    def module(self) -> GraphModule:
        """The module of the quantized program."""
        return self._candidate.module

    def unit(self, row: LayerDegradation) -> Unit:
        """The unit that a row is about."""
        return next(unit for unit, _ in self._pairs if unit.node == row.node)

    def _comparable(self) -> bool:
        """Whether every float layer is still there and, alone and without rounding, computes what it did."""
        pairs = [(u, v) for u, v in _pairs(self._candidate, self._traced) if u.channels]
        if len(pairs) != sum(bool(unit.channels) for unit in self._traced.units):
            return False
        float_ = self._traced.values(self._samples[0], [other.value for _, other in pairs])
        alone = [(Difference(), unit.value, float_[other.value]) for unit, other in pairs]
        hooks = {place: _compare(difference, right) for difference, place, right in alone}
        self._candidate.walk(self._samples[0], hooks, rounding=False)
        return all(d.snr_db is None or d.snr_db > SAME_DB for d, _, _ in alone)

    def _add(self, sample: Sequence[np.ndarray]) -> None:
        wanted = {name for _, name in self._pairs}
        if self.own_float:
            names = wanted | set(self._candidate.outputs)
            float_ = self._candidate.values(sample, names, rounding=False)
            finals = [float_[name] for name in self._candidate.outputs]
        else:
            float_ = self._traced.values(sample, wanted | set(self._traced.outputs))
            finals = [float_[name] for name in self._traced.outputs]
        seen = [unit.codes or unit.value for unit, _ in self._pairs]
        free = self._candidate.values(sample, {*seen, *self._candidate.outputs})
        for unit, name in self._pairs:
            self._free[unit.node].add(float_[name], _answer(free, unit))
        self.outputs.add(finals, [free[name] for name in self._candidate.outputs])
        self._candidate.walk(sample, self._hooks(float_))

    def _hooks(self, float_: dict[str, torch.Tensor]) -> dict[str, Hook]:
        """The first reader of a unit's codes is compared; all of them get the float value."""
        hooks: dict[str, Hook] = {}
        for unit, name in self._pairs:
            first, *others = unit.reads or (unit.value,)
            hooks[first] = _compare(self._alone[unit.node], float_[name])
            hooks |= dict.fromkeys(others, _compare(None, float_[name]))
        return hooks

    def _row(self, unit: Unit) -> LayerDegradation:
        free, alone = self._free[unit.node], self._alone[unit.node]
        snr = alone.channel_snr_db
        wrong = snr is not None and snr < LAYER_DB
        return LayerDegradation(
            node=unit.node,
            module=unit.module,
            op=unit.op,
            tensor=unit.codes or unit.value,
            matched="name" if self.own_float else "order",
            snr_db=free.snr_db,
            local_snr_db=snr,
            max_abs_error=written(alone.max_abs),
            wrong=wrong,
            reason=_outlier(alone) if wrong else "",
        )


def _compare(difference: Difference | None, right: torch.Tensor) -> Hook:
    def hook(got: torch.Tensor) -> torch.Tensor:
        if difference is not None:
            difference.add(right, got)
        return right

    return hook


def _pairs(candidate: Program, traced: Program) -> list[tuple[Unit, Unit]]:
    """Units of the same kind, module and shape, in order."""

    def score(a: Unit, b: Unit) -> float:
        same = a.family == b.family and a.module == b.module and a.shape == b.shape
        return (2.0 if a.channels else 1.0) + (a.node == b.node) if same else 0.0

    return align(candidate.units, traced.units, score)


def _answer(values: dict[str, torch.Tensor], unit: Unit) -> torch.Tensor:
    return real(values[unit.codes], unit.grid) if unit.grid is not None else values[unit.value]


def _outlier(difference: Difference) -> str:
    channel, ratio = difference.outlier
    if ratio < OUTLIER_RATIO:
        return ""
    return f"channel {channel} reaches {ratio:.0f} times the range of the median channel"
