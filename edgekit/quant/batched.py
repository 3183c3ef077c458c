"""Runs a prepared graph of batch 1 with several samples at once.

Applies only where `edgekit.quant.batching` knows that the samples cannot meet.
"""

from collections.abc import Sequence

import torch
from torch.fx import GraphModule

from edgekit.quant import batching
from edgekit.quant.calibrate import Batch

AT_ONCE = 16


def widened(prepared: GraphModule) -> tuple[GraphModule, int]:
    """Copies a prepared graph so that it may take several samples at once.

    Args:
        prepared: A prepared graph of batch 1; it is not changed.

    Returns:
        A copy with the same observers and weights, and how many samples it may be given at once.
    """
    module = batching.copied(prepared)
    at_once = AT_ONCE if batching.widen(module) > 1 else 1
    module.recompile()
    return module, at_once


def joined(samples: Sequence[Batch], at_once: int) -> list[Batch]:
    """Joins samples into batches of `at_once` samples each; the last batch may be smaller."""
    if at_once == 1:
        return list(samples)
    parts = [samples[start : start + at_once] for start in range(0, len(samples), at_once)]
    return [tuple(torch.cat(column) for column in zip(*part, strict=True)) for part in parts]
