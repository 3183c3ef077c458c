"""How much each layer and each tensor harms the outputs when it alone is rounded to integers.

The calibrated graph runs once in float. Then one observer at a time rounds to its grid, everything else stays
float, and what that adds to the outputs is its harm: noise power over signal power, summed over a few calibration
samples. Only what lies behind the observer is run again. Harms of different places are nearly independent, so that they
add: the noise of a set is the sum of its members (the additivity that Zhou et al. 2018, "Adaptive Quantization
for Deep Neural Network", AAAI, section 3, measure and use).

Cost: about half a float inference for each observer and sample; 110 observers and 8 samples of EfficientNet-Lite0
take some ten seconds.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant.batched import joined, widened
from edgekit.quant.calibrate import Batch
from edgekit.quant.layers import Network
from edgekit.quant.simulate import Simulation, answers
from edgekit.records import Record

log = logging.getLogger("edgekit")

SAMPLES = 8


class Harm(Record):
    """Noise power / signal power at the outputs. weights: by layer name; tensors: in the order of the network."""

    weights: dict[str, float]
    tensors: tuple[float, ...]
    samples: int

    @property
    def total(self) -> float:
        return sum(self.weights.values()) + sum(self.tensors)


def db(noise_ratio: float) -> float:
    """Noise over signal as a signal-to-noise ratio in decibels."""
    return -10 * math.log10(noise_ratio) if noise_ratio > 0 else math.inf


def measure(prepared: GraphModule, network: Network, samples: Sequence[Batch]) -> Harm:
    """The harm of every weight and tensor of `network` on `samples`."""
    groups = [(layer.weight,) for layer in network.layers] + [t.observers for t in network.tensors]
    module, at_once = widened(prepared)
    run = _Alone(module)
    behind = [_behind(module, set(group)) for group in groups]
    noise, signal = [0.0] * len(groups), 0.0
    batches = joined(samples, at_once)
    for number, sample in enumerate(batches, 1):
        added, power = _one_sample(run, list(zip(groups, behind, strict=True)), sample)
        noise = [a + b for a, b in zip(noise, added, strict=True)]
        signal += power
        log.info("sensitivity: batch %d of %d, %d observers", number, len(batches), len(groups))
    ratios = [n / signal if signal else 0.0 for n in noise]
    count = len(network.layers)
    return Harm(
        weights={layer.name: ratio for layer, ratio in zip(network.layers, ratios[:count], strict=True)},
        tensors=tuple(ratios[count:]),
        samples=len(samples),
    )


def _one_sample(
    run: "_Alone", groups: Sequence[tuple[tuple[str, ...], set[Node]]], sample: Batch
) -> tuple[list[float], float]:
    """(noise power of each group of observers, signal power) of one sample."""
    reference = run.reference(sample)
    noise = [float((run.alone(group, behind, sample) - reference).square().sum()) for group, behind in groups]
    return noise, float(reference.square().sum())


class _Alone(Simulation):
    """The float graph with one group of observers rounding; what does not depend on them is not run again."""

    def __init__(self, prepared: GraphModule) -> None:
        super().__init__(prepared)
        self.garbage_collect_values = False
        self._all = self.roundings
        self._kept: dict[Node, Any] = {}

    def reference(self, sample: Batch) -> torch.Tensor:
        """The float outputs; every value on the way is kept."""
        self.roundings, self._kept = dict.fromkeys(self._all), {}
        (found,) = answers(self, [sample])
        self._kept = {node: value for node, value in self.env.items() if node.op != "output"}
        return found

    def alone(self, group: tuple[str, ...], behind: set[Node], sample: Batch) -> torch.Tensor:
        self.roundings = dict.fromkeys(self._all) | {name: self._all[name] for name in group}
        kept, self._kept = self._kept, {n: v for n, v in self._kept.items() if n not in behind}
        (found,) = answers(self, [sample])
        self._kept = kept
        return found

    def run(self, *args: Any) -> Any:  # type: ignore[override]
        return super().run(*args, initial_env=dict(self._kept))


def _behind(prepared: GraphModule, active: set[str]) -> set[Node]:
    """The observers themselves and every node that depends on them."""
    found: set[Node] = set()
    for node in prepared.graph.nodes:
        is_active = node.op == "call_module" and str(node.target) in active
        if is_active or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found
