"""Scores a set of float layers with the task's metric, without converting anything."""

from collections.abc import Callable
from typing import Any

from edgekit.quant import simulate
from edgekit.quant.batched import widened
from edgekit.quant.integer_regions import IntegerRegions
from edgekit.quant.knapsack import Choice
from edgekit.techniques._ptq_trials import Trial


class Judge:
    """The task's metric of a choice, simulated in torch. Each choice is scored once.

    Args:
        trial: The calibrated graph.
        net: Its layers and tensors.
        metric: Returns the task's metric of what runs as the graph does, so many samples at a time.
    """

    def __init__(
        self,
        trial: Trial,
        net: IntegerRegions,
        metric: Callable[[Callable[..., Any], int], float],
    ) -> None:
        module, self._size = widened(trial.model)
        self._run, self._floats = simulate.Simulation(module), trial.floats
        self._all, self._net, self._metric = self._run.roundings, net, metric
        self._known: dict[tuple[str, ...], float] = {}

    def __call__(self, choice: Choice) -> float:
        """Returns the metric of a choice."""
        if choice.float_layers not in self._known:
            off = {layer.weight for layer in self._net.layers if layer.name in choice.float_layers}
            off |= {name for i in choice.quiet for name in self._net.tensors[i].observers}
            biases = {layer.bias for layer in self._net.layers if layer.name in choice.float_layers}
            self._run.stored = {path: value for path, value in self._floats.items() if path in biases}
            self._run.roundings = {n: None if n in off else rounding for n, rounding in self._all.items()}
            self._known[choice.float_layers] = self._metric(self._run.run, self._size)
        return self._known[choice.float_layers]
