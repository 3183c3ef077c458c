"""A prepared graph of batch 1 that runs several samples at once, where that gives what it gives one by one.

Programs are exported for one sample. Almost every operator takes any number of them; what fixes the number are the shapes
written into view, reshape and expand. These are widened here. Whether the whole graph then treats samples apart
is tried, not assumed.
"""

from collections.abc import Sequence
from typing import Any

import torch

from edgekit.quant.calibrate import Batch
from edgekit.quant.simulate import Simulation, answers

ATEN = torch.ops.aten
SHAPED = {ATEN.view.default, ATEN.reshape.default, ATEN._unsafe_view.default, ATEN.expand.default}
GUARDS = "_guards_fn"  # what torch.export checks shapes with
MOST = 16
TOLERANCE = 1e-3  # of the largest output: sums in another order


class BatchedSimulation(Simulation):
    """As Simulation, for inputs [N, ...] of a program that was exported for [1, ...]."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in SHAPED and len(args[1]) and args[1][0] == 1 and args[0].dim() and args[0].shape[0] > 1:
            args = (args[0], [args[0].shape[0], *args[1][1:]], *args[2:])
        return super().call_function(target, args, kwargs)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return None if target == GUARDS else super().call_module(target, args, kwargs)


def together(simulation: BatchedSimulation, samples: Sequence[Batch]) -> list[Batch]:
    """The samples in batches of up to MOST where the graph answers them as it does one by one, else as they are."""
    if len(samples) < 2 or any(t.dim() == 0 or t.shape[0] != 1 for t in samples[0]):
        return list(samples)
    try:
        (got,) = answers(simulation, [_join(samples[:2])])
    except RuntimeError:  # a shape that holds the number of samples somewhere else
        return list(samples)
    wanted = answers(simulation, samples[:2])
    if not _same(got, wanted):
        return list(samples)
    return [_join(samples[start : start + MOST]) for start in range(0, len(samples), MOST)]


def _join(samples: Sequence[Batch]) -> Batch:
    return tuple(torch.cat(column) for column in zip(*samples, strict=True))


def _same(got: torch.Tensor, wanted: Sequence[torch.Tensor]) -> bool:
    """Compares sums and sizes too: with several outputs the flat answer holds all samples of one output, then the next."""
    apart = torch.stack(list(wanted))
    if got.numel() != apart.numel():
        return False
    limit = TOLERANCE * float(apart.abs().max().clamp_min(1e-9))
    return bool((got.sort().values - apart.flatten().sort().values).abs().max() <= limit)
