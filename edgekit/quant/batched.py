"""A prepared graph of batch 1 that runs several samples at once, where `edgekit.quant.together` knows that they
cannot meet."""

import copy
from collections.abc import Sequence

import torch
from torch.fx import GraphModule

from edgekit.quant import together
from edgekit.quant.calibrate import Batch
from edgekit.quant.observing import drop_guards

AT_ONCE = 16


def widened(prepared: GraphModule) -> tuple[GraphModule, int]:
    """A copy with the same observers and weights, and how many samples it may be given at once."""
    module = copied(prepared)
    at_once = AT_ONCE if together.widen(module) > 1 else 1
    module.recompile()
    return module, at_once


def copied(prepared: GraphModule) -> GraphModule:
    """A graph of its own on the same modules and tensors, without the checks of input shapes."""
    module = GraphModule(prepared, copy.deepcopy(prepared.graph))
    drop_guards(module)
    for node in module.graph.nodes:  # an observer, or what it became, hands on the shape of what it reads
        rounds = node.op == "call_module" or node.target in together.ROUNDING
        if rounds and "val" not in node.meta and "val" in node.args[0].meta:
            node.meta["val"] = node.args[0].meta["val"]
    return module


def joined(samples: Sequence[Batch], at_once: int) -> list[Batch]:
    """The samples, `at_once` of them in each batch."""
    parts = [samples[start : start + at_once] for start in range(0, len(samples), at_once)]
    return [tuple(torch.cat(column) for column in zip(*part, strict=True)) for part in parts]
