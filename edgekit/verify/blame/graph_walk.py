"""Walks a torch program node by node, and puts another side's values in the place of its own.

To judge one operator its inputs must be right: after the first error everything differs. So the program is not run on
its own values. As soon as a unit is computed it is compared with what the other side has there, and then replaced by it:
each unit is judged alone, by the very inputs that the other side had. One walk of a sample finds every operator that
computes something else, where a search for the first one would need a run for each step of a bisection.

Cost: two walks per sample in torch on the CPU (one alone, one with replacing), and the tensors of one sample in memory.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
from edgekit_runner.stats.deviation import ratio_db
from torch.fx import GraphModule, Interpreter, Node

from edgekit.quant import program as programs
from edgekit.quant.slices import kinds
from edgekit.verify.blame.units import Grid, Unit, is_dialect, units

Rounding = bool | Collection[str]
Hook = Callable[[torch.Tensor], torch.Tensor]
SNR_LIMIT_DB = 200.0  # NaN, or any answer to a signal of zeros, counts as minus this


class Program:
    """An exported program that can be walked.

    Args:
        path: The saved program.
        fold: Whether weights are stored as integers, which is how the ONNX and Core ML exporters see them.
    """

    def __init__(self, path: str, fold: bool = True) -> None:
        exported = programs.load(path)
        self.quantized = programs.is_quantized(exported)
        if fold and self.quantized:
            exported = programs.fold_weights(exported)
        self.outputs = [str(name) for name in exported.graph_signature.user_outputs]
        self.dtypes = [value.dtype for value in programs.user_inputs(exported)]
        self.module: GraphModule = exported.module()
        self.units = units(self.module)

    def values(
        self, arrays: Sequence[np.ndarray], wanted: Iterable[str], rounding: Rounding = True
    ) -> dict[str, torch.Tensor]:
        """Runs one sample and keeps the results of some nodes.

        Args:
            arrays: One [1, ...] array for each input.
            wanted: The names of the nodes.
            rounding: Whether quantize and dequantize nodes round, or the names of those that do; the others hand on what
                they get.

        Returns:
            Node name -> result.
        """
        found: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Hook:
            return lambda value: found.setdefault(name, value)

        self.walk(arrays, {name: keep(name) for name in wanted}, rounding)
        return found

    def walk(
        self, arrays: Sequence[np.ndarray], hooks: Mapping[str, Hook], rounding: Rounding = True
    ) -> None:
        """Runs one sample through hooks.

        Args:
            arrays: One [1, ...] array for each input.
            hooks: Node name -> a function that gets the result of the node; what it returns takes the place of it.
            rounding: As in `values`.
        """
        tensors = [
            torch.from_numpy(np.ascontiguousarray(a)).to(dtype)
            for a, dtype in zip(arrays, self.dtypes, strict=True)
        ]
        with torch.no_grad():
            _Walk(self.module, hooks, rounding).run(*tensors)


class _Walk(Interpreter):
    def __init__(self, module: GraphModule, hooks: Mapping[str, Hook], rounding: Rounding) -> None:
        super().__init__(module)
        self._hooks, self._rounding = hooks, rounding

    def run_node(self, node: Node) -> object:
        if is_dialect(node) and not self._rounds(node):
            value = self.fetch_args_kwargs_from_env(node)[0][0]
        else:
            value = super().run_node(node)
        hook = self._hooks.get(node.name)
        return hook(value) if hook is not None and isinstance(value, torch.Tensor) else value

    def _rounds(self, node: Node) -> bool:
        return self._rounding if isinstance(self._rounding, bool) else node.name in self._rounding


def _squares(values: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """The sum of squares over axes; in float64 where float32 cannot hold it, as that of a mask of the lowest float32."""
    found = torch.sum(values * values, axes).double()
    return found if bool(found.isfinite().all()) else torch.sum(values.double().square(), axes)


class Difference:
    """The error of one tensor, summed over samples: as a whole, and by channel.

    Args:
        step: The step of the tensor's grid, where it holds integers.
        axis: The axis of its channels; None where it has none.
    """

    def __init__(self, step: float | None = None, axis: int | None = None) -> None:
        self._step, self._axis = step, axis
        self.elements = 0
        self._error = self._signal = self.max_abs = 0.0
        self._errors, self._signals, self._largest = (torch.zeros(1, dtype=torch.float64) for _ in range(3))

    def add(self, reference: torch.Tensor, got: torch.Tensor) -> None:
        """Adds one sample; its sums are float32, those over samples float64. The same infinity, or NaN in both, is no error."""
        right, got = reference.float(), got.float()
        if not bool(right.isfinite().all()):
            same = ~right.isfinite() & ((got == right) | (got.isnan() & right.isnan()))
            right, got = right.masked_fill(same, 0), got.masked_fill(same, 0)
        error = got - right
        largest = float(error.abs().max()) if error.numel() else 0.0
        self.max_abs = max(self.max_abs, largest if math.isfinite(largest) else math.inf)
        self.elements += error.numel()
        rest = [i for i in range(right.dim()) if i != self._axis]
        errors, signals = (_squares(t, rest) for t in (error, right))
        self._error += float(errors.sum())
        self._signal += float(signals.sum())
        if self._axis is not None:
            self._errors, self._signals = self._errors + errors, self._signals + signals
            self._largest = torch.maximum(self._largest, right.abs().amax(rest).double())

    @property
    def snr_db(self) -> float | None:
        """The signal-to-error ratio of the whole tensor; None where there is no error."""
        if not math.isfinite(self.max_abs):
            return -SNR_LIMIT_DB
        if self._error == 0:
            return None
        return min(max(ratio_db(self._signal, self._error), -SNR_LIMIT_DB), SNR_LIMIT_DB)

    @property
    def channel_snr_db(self) -> float | None:
        """The signal-to-error ratio of the median channel.

        One channel much larger than all others does not hide there what they lost.
        """
        live = self._signals > 0
        typical = float((self._errors[live] / self._signals[live]).median()) if bool(live.any()) else 0.0
        return _ratio_db(typical) if typical else None

    @property
    def has_channels(self) -> bool:
        """Whether the tensor has channels."""
        return self._axis is not None

    def channels_db(self) -> list[tuple[int, float]]:
        """(channel, its signal-to-error ratio) of each that has a signal; without an axis, the whole tensor is channel 0.

        A channel is not judged by less than the mean signal of the channels of its magnitude: see `edgekit.quant.slices`.
        """
        errors, signals = self._errors, self._signals
        if self._axis is None:
            errors, signals = (torch.tensor([x], dtype=torch.float64) for x in (self._error, self._signal))
        found: list[tuple[int, float]] = []
        for kind in kinds(signals) if float(signals.sum()) > 0 else []:
            held_to = signals[kind].clamp(min=float(signals[kind].mean()))
            found += zip(kind.tolist(), map(_ratio_db, (errors[kind] / held_to).tolist()), strict=True)
        return sorted(found)

    @property
    def outlier(self) -> tuple[int, float]:
        """(channel of the largest magnitude, how many times that of the median channel it is)."""
        typical = float(self._largest.median())
        channel = int(self._largest.argmax())
        return channel, float(self._largest[channel]) / typical if typical > 0 else 1.0

    @property
    def max_steps(self) -> float | None:
        """The largest error in steps of the grid; None without a grid."""
        return None if self._step is None else self.max_abs / self._step

    @property
    def rms_steps(self) -> float | None:
        """The root mean square of the error in steps of the grid; None without a grid."""
        if self._step is None:
            return None
        return math.sqrt(self._error / self.elements) / self._step if self.elements else 0.0


def _ratio_db(ratio: float) -> float:
    return max(-SNR_LIMIT_DB, min(SNR_LIMIT_DB, ratio_db(1.0, ratio)))


def written(value: float | None) -> float | None:
    """The figure as a record holds it: None where it is not finite, which JSON cannot express."""
    return value if value is not None and math.isfinite(value) else None


def real(codes: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Turns the integers of a grid into real numbers."""
    return (codes.float() - grid[1]) * grid[0]


def codes(values: torch.Tensor, grid: Grid, dtype: torch.dtype) -> torch.Tensor:
    """Turns real numbers into the integers of a grid."""
    limits = torch.iinfo(dtype)
    return (values / grid[0]).round().add(grid[1]).clamp(limits.min, limits.max).to(dtype)


def channel_axis(unit: Unit) -> int | None:
    """The axis of the channels of a unit's value: 1 for feature maps [N, C, ...], the last one for vectors."""
    rank = len(unit.shape)
    if unit.op.startswith("conv") or rank >= 4:
        return 1
    return rank - 1 if rank >= 2 else None
