"""Free axes as torch.export takes them: their limits, inputs of such lengths, and what torch says against one."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from torch.export import Dim

from edgekit.quant.size_texts import identifier
from edgekit.records import FreeAxes, FreeAxis, TensorSpec

MOST = 1 << 20  # of an axis without a limit of its own, as torch wants one
BATCH = "batch"
MOST_BATCH = 32  # proven, where the user names no largest
MOST_BYTES = 1 << 26  # of the inputs of one proof
STRETCH = 4  # times the example, where the user names no longest


def dims_of(free: FreeAxes) -> tuple[dict[int, Any] | None, ...]:
    """Returns the axes of each input as torch.export takes them."""
    made = {
        axis.name: Dim(identifier(axis.name), min=axis.least, max=axis.most or MOST) for axis in free.axes
    }
    return tuple({int(i): made[name] for i, name in axes.items()} or None for axes in free.inputs)


def stretched(
    tensors: Sequence[torch.Tensor], free: FreeAxes, lengths: Mapping[str, int]
) -> tuple[torch.Tensor, ...]:
    """Repeats and cuts inputs until their free axes have these lengths."""
    found = []
    for tensor, axes in zip(tensors, free.inputs, strict=True):
        for number, name in axes.items():
            axis, wanted = int(number), lengths[name]
            index = torch.arange(wanted) % tensor.shape[axis]
            tensor = tensor.index_select(axis, index)
        found.append(tensor.contiguous())
    return tuple(found)


def tracing_lengths(free: FreeAxes) -> dict[str, int]:
    """Returns lengths that torch takes for free ones: it takes 0 and 1 for constants."""
    return {axis.name: min(max(2, axis.example), axis.most or MOST) for axis in free.axes}


def proven_lengths(free: FreeAxes, inputs: Sequence[TensorSpec]) -> list[dict[str, int]]:
    """Returns the lengths to prove: the shortest of all axes, the longest, and two between."""
    ranges = [(axis.name, axis.least, longest(axis, inputs)) for axis in free.axes]
    steps = (0.0, 0.15, 0.5, 1.0)
    found = [{name: round(least + share * (most - least)) for name, least, most in ranges} for share in steps]
    return [each for i, each in enumerate(found) if each not in found[:i]]


def longest(axis: FreeAxis, inputs: Sequence[TensorSpec]) -> int:
    """Returns the longest that is proven of an axis: what the user names, else a few times the example."""
    if axis.most is not None:
        return axis.most
    if axis.name != BATCH and axis.example > 1:
        return STRETCH * axis.example
    size = sum(int(np.prod(spec.shape)) * 4 for spec in inputs)
    return max(2, min(MOST_BATCH, MOST_BYTES // max(1, size)))


def limited(free: FreeAxes, inputs: Sequence[TensorSpec]) -> tuple[FreeAxis, ...]:
    """Returns the axes, each with a longest: what is proven."""
    return tuple(msgspec.structs.replace(axis, most=longest(axis, inputs)) for axis in free.axes)


def named(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], free: FreeAxes | None
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Returns the descriptions of inputs and outputs with their free axes."""
    if free is None:
        return inputs, outputs
    sides = (inputs, free.inputs), (outputs, free.outputs)
    found = [
        tuple(msgspec.structs.replace(s, free=axes) for s, axes in zip(specs, places, strict=True))
        for specs, places in sides
    ]
    return found[0], found[1]


def fixed_sentence(error: Exception, free: FreeAxes) -> str:
    """Says which axis torch found fixed, or limited."""
    text = " ".join(str(error).split())
    limited = re.search(r"(\w+) = Dim\('\w+', ([^)]*)\)", text)
    if limited:
        return f'the axis {limited[1]} has limits in the model: ek.Dim("{limited[1]}", {limited[2]}) has them'
    constant = re.search(
        r"marked (\w+) as dynamic but your code specialized it to be a constant \((\d+)\)", text
    )
    if constant:
        return f"the axis {constant[1]} cannot be free: the model fixes it at {constant[2]}"
    mixed = re.search(r"same reduction dim, but got \[[^]]*?\b(\d+)\*s\d+", text)
    if mixed:
        return (
            f"the axis {', '.join(a.name for a in free.axes)} cannot be free: the model mixes it with the features, {mixed[1]} "
            "of each sample, as flatten without start_dim does; write torch.flatten(x, 1)"
        )
    names = [axis.name for axis in free.axes if identifier(axis.name) in text] or [a.name for a in free.axes]
    return f"the axis {', '.join(names)} cannot be free: {text[:300]}"
