"""Which layers stay float: the cheapest set whose noise is below a limit, as an integer linear program.

Minimise the added time of the float layers and of the conversions at their borders, subject to the noise that
stays: a knapsack over layers, not a count of them. One binary variable a layer; the tensors between follow from the
layers by the rules in `edgekit.quant.integer_regions`, which are linear. `edgekit.quant.milp` solves it exactly.

The same formulation without time limits is in Hubara et al. 2021, "Accurate Post Training Quantization With Small
Calibration Sets" (arXiv:2006.10518), section 4.
"""

import math
from collections.abc import Mapping

import numpy as np

from edgekit.quant import milp
from edgekit.quant.integer_regions import IntegerRegions
from edgekit.quant.layer_sensitivity import Sensitivity
from edgekit.records import Record

TIME_LIMIT_S = 20.0


class Costs(Record):
    """What float costs more than integers.

    Attributes:
        layers: The added cost of each layer in float, by name; negative where float is faster.
        border_per_element: The cost of converting one number of a tensor between float and integers.
        unit: "s" where the costs were measured; otherwise what they are estimated shares of.
    """

    layers: dict[str, float]
    border_per_element: float
    unit: str


class Choice(Record):
    """The layers that stay float.

    Attributes:
        float_layers: The names of these layers, in the order of the network.
        quiet: Indices of the tensors that are float with them.
        noise: The predicted noise / signal that remains.
        cost: The added cost against all layers in integers, in the unit of the costs.
    """

    float_layers: tuple[str, ...]
    quiet: tuple[int, ...]
    noise: float
    cost: float


def solve(
    network: IntegerRegions, sensitivity: Sensitivity, costs: Costs, limit: float = math.inf
) -> Choice | None:
    """Finds the cheapest layers to keep in float.

    Args:
        network: The layers and tensors to choose from.
        sensitivity: The noise that each of them adds when it is rounded.
        costs: What float costs more than integers.
        limit: The most noise / signal that may remain.

    Returns:
        The cheapest choice; None where no choice keeps to the limit.
    """
    program = _Program(network, sensitivity, costs)
    program.rules()
    program.limit_noise(limit)
    chosen = milp.solve(program.cost, program.rows, len(network.layers), TIME_LIMIT_S)
    return None if chosen is None else program.read(chosen)


class _Program:
    """The integer linear program; its variables are 0 or 1.

    x: a layer is float; v: a tensor is made in float; y: the tensor is float; z: the tensor is converted.
    """

    def __init__(self, network: IntegerRegions, sensitivity: Sensitivity, costs: Costs) -> None:
        self.network, self.sensitivity, self.costs = network, sensitivity, costs
        self.place = {layer.name: i for i, layer in enumerate(network.layers)}
        layers, tensors = len(network.layers), len(network.tensors)
        self._first = {"v": layers, "y": layers + tensors, "z": layers + 2 * tensors}
        self.cost = np.zeros(layers + 3 * tensors)
        self.cost[:layers] = [costs.layers[layer.name] for layer in network.layers]
        for i, tensor in enumerate(network.tensors):
            self.cost[self._at("z", i)] = costs.border_per_element * tensor.elements
        self.rows: list[milp.Row] = []

    def _at(self, kind: str, i: int) -> int:
        return self._first[kind] + i

    def _at_most(self, top: float, row: Mapping[int, float]) -> None:
        self.rows.append(milp.at_most(top, row))

    def _below(self, a: int, b: int) -> None:
        self._at_most(0, {a: 1, b: -1})

    def rules(self) -> None:
        for i, tensor in enumerate(self.network.tensors):
            v, y, z = (self._at(kind, i) for kind in "vyz")
            self._made(tensor.maker, tensor.sources, v)
            self._below(y, v)
            for reader in tensor.readers:
                x = self.place[reader]
                self._below(y, x)
                self._at_most(0, {v: 1, x: -1, z: -1})
                self._at_most(0, {x: 1, v: -1, z: -1})
            for operands in tensor.operators:
                for other in set(operands) - {
                    i
                }:  # one float operand makes the operator float: the others are converted
                    self._at_most(0, {self._at("v", other): 1, v: -1, z: -1})

    def _made(self, maker: str | None, sources: tuple[int, ...], v: int) -> None:
        """Ties v to the layer, or to the operands: the tensor is float as soon as one of them is."""
        if maker is not None:
            self._below(v, self.place[maker])
            self._below(self.place[maker], v)
            return
        operands = [self._at("v", source) for source in sources]
        for operand in operands:
            self._below(operand, v)
        self._at_most(0 if operands else -1, {v: 1 if operands else -1, **dict.fromkeys(operands, -1)})

    def limit_noise(self, limit: float) -> None:
        """Adds the row: sum of sensitivity * (1 - float) <= limit."""
        if math.isinf(limit):
            return
        row = {self.place[name]: -noise for name, noise in self.sensitivity.weights.items()}
        row |= {self._at("y", i): -noise for i, noise in enumerate(self.sensitivity.tensors)}
        scale = max(self.sensitivity.total, 1e-12)
        self._at_most(
            (limit - self.sensitivity.total) / scale, {k: value / scale for k, value in row.items()}
        )

    def read(self, on: np.ndarray) -> Choice:
        names = tuple(layer.name for layer in self.network.layers if on[self.place[layer.name]])
        quiet = tuple(
            i
            for i, tensor in enumerate(self.network.tensors)
            if on[self._at("v", i)] and all(on[self.place[reader]] for reader in tensor.readers)
        )
        noise = sum(v for name, v in self.sensitivity.weights.items() if name not in set(names))
        noise += sum(v for i, v in enumerate(self.sensitivity.tensors) if i not in set(quiet))
        return Choice(float_layers=names, quiet=quiet, noise=noise, cost=float(self.cost @ on))
