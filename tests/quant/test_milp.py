"""The integer linear program that two searches share."""

import numpy as np
import pytest

from edgekit.quant.milp import Row, at_most, solve


def test_a_knapsack() -> None:
    """Worth 3, 4 and 5 at weights 2, 3 and 4: within 5 the first two."""
    found = solve(-np.array([3.0, 4, 5]), [at_most(5, {0: 2, 1: 3, 2: 4})], 3, 10)
    assert found is not None and found.tolist() == [True, True, False]


@pytest.mark.parametrize("rows", [[], [Row({0: 1, 1: 1}, 0, 2)]])
def test_what_costs_nothing_to_leave_out(rows: list[Row]) -> None:
    found = solve(np.array([1.0, -1.0]), rows, 2, 10)
    assert found is not None and found.tolist() == [False, True]


def test_the_variables_that_follow_need_not_be_whole() -> None:
    """The second must cover the half that the first cannot."""
    found = solve(np.array([2.0, 1.0]), [Row({0: 1, 1: 1}, 0.5, np.inf)], 1, 10)
    assert found is not None and not found[0]


def test_rows_that_contradict_each_other() -> None:
    assert solve(np.array([1.0]), [Row({0: 1}, 0.4, 0.6)], 1, 10) is None
