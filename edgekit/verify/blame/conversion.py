"""Conversion: does a file compute the candidate's program, operator by operator?

Every operator is judged alone (see `edgekit.verify.blame.graph_walk`): given the inputs that the file had, its output must be what
torch computes. Integers may differ by rounding ties, so a step or two is no error, but an operator that is off by more,
or by half a step on average, is. Floating results are judged by their signal-to-error ratio.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgekit.arrays import from_layout
from edgekit.formats import FORMATS
from edgekit.records import Artifact, LayerDegradation
from edgekit.verify.blame.channels import Outputs
from edgekit.verify.blame.graph_walk import Difference, Hook, Program, codes, real, written
from edgekit.verify.blame.match import Match, Run, same_grid
from edgekit.verify.blame.units import squeezed

MAX_STEPS = 2.0
RMS_STEPS = 0.5
MIN_ELEMENTS = 64  # a few rounding ties decide a mean over fewer
FLOAT_DB = 70.0
HALF_DB = 40.0  # rounding weights and results to float16 leaves 55 to 75 dB


def tolerance_db(artifact: Artifact) -> float:
    """The signal-to-error ratio, in dB, that a floating result of a faithful file keeps."""
    between = artifact.precision == "int8" and FORMATS[artifact.format].computes_in_half
    half = artifact.precision == "float16" or between
    return HALF_DB if half else FLOAT_DB


@dataclass(frozen=True)
class Watched:
    """One way to run a file.

    Attributes:
        matches: The operators that it shows.
        run: Gives their tensors for one sample.
    """

    matches: Sequence[Match]
    run: Run


class Conversion:
    """The rows of each way to run a file, in the order of the program, and the errors of its outputs.

    Args:
        program: The candidate's program.
        ways: The ways to run the file; the first one also judges what stands behind the last compared operators.
        limit_db: What a floating result must keep, in dB.
        names: What the outputs are called.
    """

    def __init__(
        self, program: Program, ways: Sequence[Watched], limit_db: float, names: Sequence[str]
    ) -> None:
        self._program, self._ways, self._limit_db = program, ways, limit_db
        self._free, self._alone = (
            [{m.at: Difference(_step(m)) for m in way.matches} for way in ways] for _ in range(2)
        )
        self.outputs = Outputs(names)
        self.ends = Outputs(names)  # the errors behind the last operators that were compared

    def add(
        self, sample: Sequence[np.ndarray], feeds: Mapping[str, np.ndarray], answers: Sequence[np.ndarray]
    ) -> None:
        """Adds one sample.

        Args:
            sample: Its arrays as the model takes them.
            feeds: The same as the file takes them, by input name.
            answers: What the runtime answers an app.
        """
        program, places = self._program, {m.at for way in self._ways for m in way.matches}
        own = program.values(sample, places.union(program.outputs))
        right = [own[name] for name in program.outputs]
        got = [fit(np.asarray(answer), value) for answer, value in zip(answers, right, strict=True)]
        self.outputs.add(right, got)
        for way, free, alone in zip(self._ways, self._free, self._alone, strict=True):
            arrays = way.run(feeds)
            given = {m.at: _real(arrays[m.tensor.name], m) for m in way.matches}
            for m in way.matches:
                value = _value(own[m.at], m)
                free[m.at].add(value, fit(given[m.at], value))
            hooks = {m.at: _judge(alone[m.at], given[m.at], m) for m in way.matches}
            ends: dict[str, torch.Tensor] = {}
            program.walk(sample, {**{name: _keep(ends, name) for name in program.outputs}, **hooks})
            if way is self._ways[0]:
                self.ends.add([ends.get(n, a) for n, a in zip(program.outputs, got, strict=True)], got)

    def rows(self, way: int) -> tuple[LayerDegradation, ...]:
        """What was found for each operator, in the order of the program, on the way with that index."""
        free, alone = self._free[way], self._alone[way]
        return tuple(_row(m, free[m.at], alone[m.at], self._limit_db) for m in self._ways[way].matches)


def _keep(found: dict[str, torch.Tensor], name: str) -> Hook:
    return lambda value: found.setdefault(name, value)


def _judge(difference: Difference, given: np.ndarray, match: Match) -> Hook:
    """Compares what torch computed with what the file has, and continues with the latter."""

    def hook(value: torch.Tensor) -> torch.Tensor:
        right = _value(value, match)
        got = fit(given, right)
        difference.add(right, got)
        grid = match.unit.grid
        return codes(got, grid, value.dtype) if _in_codes(match) and grid else got.to(value.dtype)

    return hook


def fit(array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Brings a file's tensor into the shape of the program's, in the axis order that fits its values best."""
    orders = [array, from_layout(array, "NHWC")] if array.ndim == 4 else [array]
    if array.ndim == 3:
        orders.append(array.transpose(0, 2, 1))
    wanted = [d for d in like.shape if d != 1]
    shaped = [
        torch.from_numpy(np.ascontiguousarray(o)).reshape(like.shape)
        for o in orders
        if [d for d in o.shape if d != 1] == wanted
    ]
    if not shaped:  # the same dimensions, in an order that no rule covers
        assert squeezed(array.shape) == squeezed(like.shape)
        return torch.from_numpy(np.array(array)).reshape(like.shape)
    if len(shaped) == 1:
        return shaped[0]
    return min(shaped, key=lambda tensor: float((tensor.float() - like.float()).abs().sum()))


def _in_codes(match: Match) -> bool:
    return match.at == match.unit.codes


def _step(match: Match) -> float | None:
    return match.unit.grid[0] if _in_codes(match) and match.unit.grid else None


def _real(array: np.ndarray, match: Match) -> np.ndarray:
    grid = match.tensor.grid
    return (
        array.astype(np.float32)
        if grid is None
        else (array.astype(np.float32) - grid[1]) * np.float32(grid[0])
    )


def _value(value: torch.Tensor, match: Match) -> torch.Tensor:
    return real(value, match.unit.grid) if _in_codes(match) and match.unit.grid else value


def _row(match: Match, free: Difference, alone: Difference, limit_db: float) -> LayerDegradation:
    off = _reason(alone, limit_db)
    reason = _grid_reason(match) or off if off or _written_apart(match) else ""
    return LayerDegradation(
        node=match.unit.node,
        module=match.unit.module,
        op=match.op,
        tensor=match.tensor.name,
        matched=match.by,
        snr_db=free.snr_db,
        local_snr_db=alone.snr_db,
        max_abs_error=written(alone.max_abs),
        max_steps=written(alone.max_steps),
        rms_steps=written(alone.rms_steps),
        wrong=bool(reason),
        reason=reason,
    )


def _written_apart(match: Match) -> bool:
    """Whether the reader of the integers has a grid of its own, so that a wrong grid of the writer does not show in them."""
    return match.tensor.op == "QuantizeLinear"


def _grid_reason(match: Match) -> str:
    ours, theirs = match.unit.grid, match.tensor.grid
    if not _in_codes(match) or ours is None or theirs is None or same_grid(ours, theirs):
        return ""
    return f"the file has scale {theirs[0]:.6g} and zero point {theirs[1]}, the program {ours[0]:.6g} and {ours[1]}"


def _reason(alone: Difference, limit_db: float) -> str:
    if not np.isfinite(alone.max_abs):
        return "it answers NaN or infinity"
    steps, rms, snr = alone.max_steps, alone.rms_steps, alone.snr_db
    if steps is not None and rms is not None:
        wrong = steps > MAX_STEPS + 0.01 or (rms > RMS_STEPS and alone.elements >= MIN_ELEMENTS)
        return f"it is off by up to {steps:.0f} quantization steps, {rms:.2f} rms" if wrong else ""
    if snr is not None and snr < limit_db:
        return f"its output keeps {snr:.1f} dB, at least {limit_db:.0f} dB is expected"
    return ""
