"""The quantized program before it is one: a calibrated graph run with every observer rounding to its own grid.

What `convert_pt2e` would compute, without converting: so that choices (equalization, bias correction, rounding) can be
compared in seconds on a few calibration samples. Nothing is copied: weights are read when they are needed, so
a change of them shows in the next run.

Choices are compared by the signal-to-noise ratio of the outputs, 10 log10(|float|^2 / |float - quantized|^2): unlike the
share of equal answers it still tells two good choices apart on sixteen samples.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter
from torch.utils import _pytree as pytree

from edgekit.quant.calibrate import Batch, pieces

SAMPLES = 16

Rounding = Callable[[torch.Tensor], torch.Tensor]


class Simulation(Interpreter):
    """Runs a prepared graph as integers will; with `rounds=False` as the float graph that it is, observing nothing."""

    def __init__(self, prepared: GraphModule, rounds: bool = True) -> None:
        super().__init__(prepared)
        self.observers = observers(prepared)
        self.roundings = {name: _rounding(o) if rounds else None for name, o in self.observers.items()}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target not in self.roundings:
            return super().call_module(target, args, kwargs)
        rounding = self.roundings[target]
        return args[0] if rounding is None else rounding(args[0])


def observers(prepared: GraphModule) -> dict[str, torch.nn.Module]:
    """The observers that the graph calls, by the name it calls them."""
    names = {str(node.target) for node in prepared.graph.nodes if node.op == "call_module"}
    found = {name: prepared.get_submodule(name) for name in names}
    return {name: module for name, module in found.items() if hasattr(module, "calculate_qparams")}


def _rounding(observer: Any) -> Rounding:
    scale, zero = observer.calculate_qparams()
    low, high = int(observer.quant_min), int(observer.quant_max)
    if scale.numel() == 1:
        step, origin = float(scale), int(zero)
        return lambda x: torch.fake_quantize_per_tensor_affine(x, step, origin, low, high)
    scale, zero = scale.float(), zero.int()
    return lambda x: torch.fake_quantize_per_channel_affine(x, scale, zero, 0, low, high)


def spread(batches: Iterable[object], like: Batch, runs: int, count: int = SAMPLES) -> list[Batch]:
    """`count` of the first `runs` calibration inputs, evenly spread."""
    wanted = {index * runs // min(count, runs) for index in range(min(count, runs))}
    cut = (piece for number, batch in enumerate(batches) for piece in pieces(batch, like, number))
    return [piece for index, piece in enumerate(islice(cut, runs)) if index in wanted]


@torch.no_grad()
def answers(model: Interpreter, samples: Sequence[Batch]) -> list[torch.Tensor]:
    """All float outputs of each sample, flat."""
    return [_flat(model.run(*sample)) for sample in samples]


def snr_db(reference: Sequence[torch.Tensor], got: Sequence[torch.Tensor]) -> float:
    """Signal to noise over all samples; infinite where nothing differs."""
    signal = sum(float(a.square().sum()) for a in reference)
    noise = sum(float((a - b).square().sum()) for a, b in zip(reference, got, strict=True))
    return 10 * math.log10(signal / noise) if noise and signal else math.inf if not noise else -math.inf


def _flat(outputs: object) -> torch.Tensor:
    tensors = [t for t in pytree.tree_leaves(outputs) if isinstance(t, torch.Tensor)]
    return torch.cat([t.double().flatten() for t in tensors if t.is_floating_point()])
