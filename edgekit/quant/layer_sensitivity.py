"""How much each layer and each tensor degrades the outputs when it alone is rounded to integers.

The calibrated graph runs once in float. Then one observer at a time rounds to its grid, everything else stays
float, and what that adds to the outputs is their sensitivity to it: noise power over signal
power of each channel of each output, over a few calibration samples (`edgekit.quant.slices` says how they become one
number). Only what lies behind the observer is run again. The sensitivities to different places are nearly
independent, so that they add: the noise of a set is the sum of its members (the additivity that Zhou et al. 2018,
"Adaptive Quantization for Deep Neural Network", AAAI, section 3, measure and use).

Cost: about half a float inference for each observer and sample; 110 observers and 8 samples of EfficientNet-Lite0
take some ten seconds.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from edgekit_runner.stats.deviation import ratio_db
from torch.fx import GraphModule, Node

from edgekit.quant import slices
from edgekit.quant.batched import joined, widened
from edgekit.quant.calibrate import Batch
from edgekit.quant.integer_regions import IntegerRegions
from edgekit.quant.simulate import Simulation, outputs
from edgekit.records import Record

log = logging.getLogger("edgekit")

SAMPLES = 8


class Sensitivity(Record):
    """The sensitivity of the outputs to each rounding: noise power / signal power of a mean channel.

    Attributes:
        weights: By layer name.
        tensors: In the order of the network.
        samples: How many calibration samples it was measured on.
    """

    weights: dict[str, float]
    tensors: tuple[float, ...]
    samples: int

    @property
    def total(self) -> float:
        """The noise / signal with everything rounded, as the sum of its parts."""
        return sum(self.weights.values()) + sum(self.tensors)


def db(noise_ratio: float) -> float:
    """Converts noise over signal to a signal-to-noise ratio in decibels."""
    return ratio_db(1.0, noise_ratio)


class Part(Record):
    """What rounds alone.

    Attributes:
        observers: The observers that round.
        bias: The path of the bias that was corrected for them, if there is one.
    """

    observers: tuple[str, ...]
    bias: str | None = None


def measure(
    prepared: GraphModule,
    network: IntegerRegions,
    samples: Sequence[Batch],
    floats: Mapping[str, torch.Tensor] | None = None,
) -> Sensitivity:
    """Measures how sensitive the outputs are to every weight and tensor of a network.

    Args:
        prepared: The calibrated graph.
        network: Its layers and tensors.
        samples: Inputs of the model.
        floats: Biases before they were corrected, by path: a layer whose weight is not rounded needs no correction.

    Returns:
        The degradation that each weight and tensor causes when it alone is rounded.
    """
    parts = [Part(observers=(layer.weight,), bias=layer.bias) for layer in network.layers]
    parts += [Part(observers=tensor.observers) for tensor in network.tensors]
    module, at_once = widened(prepared)
    run = _Alone(module, floats or {})
    behind = [_behind(module, part) for part in parts]
    noise, signal = [_Powers() for _ in parts], _Powers()
    batches = joined(samples, at_once)
    for number, sample in enumerate(batches, 1):
        reference = run.reference(sample)
        for i, part in enumerate(parts):
            found = run.alone(part, behind[i], sample)
            noise[i].add([a - b for a, b in zip(found, reference, strict=True)])
        signal.add(reference)
        log.info("sensitivity: batch %d of %d, %d observers", number, len(batches), len(parts))
    ratios = [slices.noise_ratio(n.channels, signal.channels) for n in noise]
    count = len(network.layers)
    return Sensitivity(
        weights={layer.name: ratio for layer, ratio in zip(network.layers, ratios[:count], strict=True)},
        tensors=tuple(ratios[count:]),
        samples=len(samples),
    )


class _Powers:
    """The power of every channel of every output, summed over samples."""

    def __init__(self) -> None:
        self.channels: list[torch.Tensor] = []

    def add(self, found: Sequence[torch.Tensor]) -> None:
        new = slices.powers(found)
        self.channels = [a + b for a, b in zip(self.channels, new, strict=True)] if self.channels else new


class _Alone(Simulation):
    """The float graph with one part rounding; what does not depend on that part is not run again."""

    def __init__(self, prepared: GraphModule, floats: Mapping[str, torch.Tensor]) -> None:
        super().__init__(prepared)
        self.garbage_collect_values = False
        self._all, self._floats = self.roundings, floats
        self._kept: dict[Node, Any] = {}

    def reference(self, sample: Batch) -> list[torch.Tensor]:
        """Returns the float outputs; every value on the way is kept."""
        self.roundings, self.stored, self._kept = dict.fromkeys(self._all), self._floats, {}
        (found,) = outputs(self, [sample])
        self._kept = {node: value for node, value in self.env.items() if node.op != "output"}
        return found

    def alone(self, part: Part, behind: set[Node], sample: Batch) -> list[torch.Tensor]:
        self.roundings = dict.fromkeys(self._all) | {name: self._all[name] for name in part.observers}
        self.stored = {path: value for path, value in self._floats.items() if path != part.bias}
        kept, self._kept = self._kept, {n: v for n, v in self._kept.items() if n not in behind}
        (found,) = outputs(self, [sample])
        self._kept = kept
        return found

    def run(self, *args: Any) -> Any:  # type: ignore[override]
        return super().run(*args, initial_env=dict(self._kept))


def _behind(prepared: GraphModule, part: Part) -> set[Node]:
    """Returns what the part changes, and every node that depends on it."""
    found: set[Node] = set()
    for node in prepared.graph.nodes:
        own = {"call_module": part.observers, "get_attr": (part.bias,)}.get(node.op, ())
        if str(node.target) in own or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found
