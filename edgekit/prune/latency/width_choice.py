"""The widths that are worth most within a time: a multiple-choice knapsack, solved exactly.

One binary variable for each group and width, of which exactly one is 1 for each group: maximize the sum of
what the widths are worth, subject to the predicted seconds. A layer between two groups takes t r_in(a)
r_out(b): for each pair (a, b) there is one more variable, the flow from a to b, which is x_a x_b wherever x
is binary (the transport form, whose relaxation is tight). `edgekit.quant.milp` solves it.

As an objective for pruning: Shen et al. 2022, "Structural Pruning via Latency-Saliency Knapsack"
(arXiv:2210.06659).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from edgekit.errors import BudgetError
from edgekit.prune.latency.forecast import Forecast, Work
from edgekit.quant import milp
from edgekit.quant.milp import Row

TIME_LIMIT_S = 30.0


def choose(values: Mapping[str, Mapping[int, float]], forecast: Forecast, budget_s: float) -> dict[str, int]:
    """Chooses the width of each group.

    Args:
        values: What each allowed width is worth, by root and width.
        forecast: Predicts the time.
        budget_s: The time that one run may take.

    Raises:
        BudgetError: Not even the fastest widths fit; the message names the floor.
    """
    floor_s = forecast(fastest(values, forecast))
    if budget_s < floor_s:
        raise BudgetError(
            f"{budget_s * 1e3:.4g} ms is below the floor: with every group of channels at its fastest width the network takes "
            f"{floor_s * 1e3:.4g} of {forecast.base_s * 1e3:.4g} ms, so that a speed-up of "
            f"{forecast.base_s / floor_s:.3g} is the most there is. Ask for less, or for smaller integers"
        )
    program, fixed_s = _Program.of(values, forecast)
    program.limit((budget_s - fixed_s) / forecast.base_s, forecast.base_s)
    return program.solved(-program.worth())


def fastest(values: Mapping[str, Mapping[int, float]], forecast: Forecast) -> dict[str, int]:
    """Returns the widths that take the least time.

    They are not always the smallest widths: eight channels may take longer than sixteen.
    """
    program, _ = _Program.of(values, forecast)
    return program.solved(program.times() / forecast.base_s)


@dataclass
class _Program:
    """One variable for each (group, width), then one for each pair of widths of groups that share a layer."""

    values: Mapping[str, Mapping[int, float]]
    costs: dict[int, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        keys = [(root, width) for root, allowed in self.values.items() for width in sorted(allowed)]
        self._place = {key: number for number, key in enumerate(keys)}
        self._pairs: dict[tuple[str, str, int, int], int] = {}
        for root in self.values:
            self.rows.append(Row({i: 1.0 for (r, _), i in self._place.items() if r == root}, 1, 1))

    @classmethod
    def of(cls, values: Mapping[str, Mapping[int, float]], forecast: Forecast) -> tuple["_Program", float]:
        """The program of all layers of a network, and the seconds that no choice changes."""
        made = cls(values)
        return made, forecast.rest_s + sum(made.add(work) for work in forecast.works)

    def solved(self, objective: np.ndarray) -> dict[str, int]:
        """The widths with the lowest objective. Raises BudgetError where the time for the search is over."""
        chosen = milp.solve(objective, self.rows, len(self._place), TIME_LIMIT_S)
        if chosen is None:  # the fastest widths fit, so there are some
            raise BudgetError(f"no widths were found within {TIME_LIMIT_S:g} s; ask for more time")
        return {root: width for (root, width), place in self._place.items() if chosen[place]}

    def times(self) -> np.ndarray:
        return np.array([self.costs.get(place, 0.0) for place in range(self.count)])

    def add(self, work: Work) -> float:
        """Adds the seconds of some layers; returns those that no choice changes."""
        curves = [(root, curve) for root, curve in work.curves if root in self.values][:2]
        if not curves:
            return work.seconds
        allowed = [sorted(self.values[root]) for root, _ in curves]
        for widths in product(*allowed):
            seconds = work.seconds
            for (_, curve), width in zip(curves, widths, strict=True):
                seconds *= curve.share(width)
            place = self._variable([root for root, _ in curves], widths)
            self.costs[place] = self.costs.get(place, 0.0) + seconds
        return 0.0

    def _variable(self, roots: Sequence[str], widths: Sequence[int]) -> int:
        if len(roots) == 1:
            return self._place[roots[0], widths[0]]
        (a, b), (wide_a, wide_b) = roots, widths
        if (a, b, wide_a, wide_b) not in self._pairs:
            self._join(a, b)
        return self._pairs[a, b, wide_a, wide_b]

    def _join(self, a: str, b: str) -> None:
        """Adds flows from the widths of a to those of b; a width has as much flow as it is chosen."""
        for pair in product(self.values[a], self.values[b]):
            self._pairs[a, b, *pair] = len(self._place) + len(self._pairs)
        for side, root in enumerate((a, b)):
            for width in self.values[root]:
                flows = {
                    i: 1.0
                    for (x, y, *pair), i in self._pairs.items()
                    if (x, y) == (a, b) and pair[side] == width
                }
                self.rows.append(Row({**flows, self._place[root, width]: -1.0}, 0, 0))

    def limit(self, top: float, scale: float) -> None:
        self.rows.append(milp.at_most(top, {i: cost / scale for i, cost in self.costs.items()}))

    @property
    def count(self) -> int:
        return len(self._place) + len(self._pairs)

    def worth(self) -> np.ndarray:
        found = np.zeros(self.count)
        scale = max(abs(v) for allowed in self.values.values() for v in allowed.values()) or 1.0
        for (root, width), place in self._place.items():
            found[place] = self.values[root][width] / scale
        return found
