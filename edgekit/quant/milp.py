"""Choices as an integer linear program: every variable is 0 or 1, or between them where the optimum makes it so.

Solved exactly by HiGHS (Huangfu and Hall 2018, "Parallelizing the dual revised simplex method") through
`scipy.optimize.milp`; some hundred choices take less than a second.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

#: an optimum is proven to within this share of its value
GAP = 1e-4


class Row(NamedTuple):
    """A constraint: low <= sum of coefficient * variable <= high; variables are numbered from 0."""

    coefficients: Mapping[int, float]
    low: float
    high: float


def at_most(high: float, coefficients: Mapping[int, float]) -> Row:
    """Returns a row without a lower limit."""
    return Row(coefficients, -np.inf, high)


def solve(objective: np.ndarray, rows: Sequence[Row], choices: int, time_limit_s: float) -> np.ndarray | None:
    """Minimizes a linear objective.

    Args:
        objective: The cost of each variable.
        rows: The constraints.
        choices: How many variables, counted from the first, must be 0 or 1. The others follow from them.
        time_limit_s: When the search ends.

    Returns:
        Which variables are 1, or None where nothing was found that keeps all rows.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    integrality = np.concatenate([np.ones(choices), np.zeros(len(objective) - choices)])
    found = milp(
        objective,
        constraints=LinearConstraint(*_matrix(rows, len(objective))),
        integrality=integrality,
        bounds=Bounds(0, 1),
        options={"time_limit": time_limit_s, "mip_rel_gap": GAP},
    )
    return None if found.x is None else found.x > 0.5


def _matrix(rows: Sequence[Row], variables: int) -> tuple[object, np.ndarray, np.ndarray]:
    from scipy.sparse import csr_array

    cells = [(number, *cell) for number, row in enumerate(rows) for cell in row.coefficients.items()]
    numbers, columns, values = np.array(cells, dtype=float).reshape(-1, 3).T
    matrix = csr_array((values, (numbers.astype(int), columns.astype(int))), shape=(len(rows), variables))
    return matrix, np.array([row.low for row in rows]), np.array([row.high for row in rows])
