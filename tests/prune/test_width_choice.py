"""The knapsack of widths against brute force, and what it says where nothing fits."""

from itertools import product

import numpy as np
import pytest

from edgekit.errors import BudgetError
from edgekit.prune.latency.curve import Curve
from edgekit.prune.latency.forecast import Forecast, Work
from edgekit.prune.latency.width_choice import choose, fastest

WIDTHS = (8, 16, 24, 32)


def forecast_of(works: list[Work], rest_s: float) -> Forecast:
    made = Forecast.__new__(Forecast)
    made.works, made.rest_s = tuple(works), rest_s
    made.base_s = rest_s + sum(work.seconds for work in works)
    return made


def curve(generator: np.random.Generator) -> Curve:
    """A staircase: random steps up."""
    return Curve(WIDTHS, np.cumsum(generator.uniform(0, 1, len(WIDTHS))) + 0.1, WIDTHS[-1], 8)


def problem(seed: int, coupled: bool) -> tuple[dict[str, dict[int, float]], Forecast]:
    generator = np.random.default_rng(seed)
    roots = ["a", "b", "c", "d"]
    values = {
        root: dict(zip(WIDTHS, np.cumsum(generator.uniform(0, 1, len(WIDTHS))), strict=True))
        for root in roots
    }
    works = [Work(float(generator.uniform(0.5, 2)), ((root, curve(generator)),)) for root in roots]
    if coupled:
        pairs = [("a", "b"), ("b", "c"), ("c", "b"), ("a", "d")]
        works += [
            Work(float(generator.uniform(0.5, 2)), ((x, curve(generator)), (y, curve(generator))))
            for x, y in pairs
        ]
    return values, forecast_of(works, 0.7)


def brute(values: dict[str, dict[int, float]], forecast: Forecast, budget_s: float) -> float:
    plans = (dict(zip(values, widths, strict=True)) for widths in product(*values.values()))
    return max(
        sum(values[root][width] for root, width in plan.items())
        for plan in plans
        if forecast(plan) <= budget_s
    )


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 1.0])
def test_it_keeps_as_much_as_the_best_of_all_plans(seed: int, share: float, coupled: bool) -> None:
    values, forecast = problem(seed, coupled)
    floor_s = forecast(dict.fromkeys(values, 8))
    budget_s = floor_s + share * (forecast.base_s - floor_s)
    chosen = choose(values, forecast, budget_s)
    assert set(chosen) == set(values)
    assert forecast(chosen) <= budget_s * (1 + 1e-6)
    kept = sum(values[root][width] for root, width in chosen.items())
    assert kept == pytest.approx(brute(values, forecast, budget_s), rel=1e-3)


def test_everything_stays_where_the_time_is_there() -> None:
    values, forecast = problem(0, coupled=True)
    assert choose(values, forecast, forecast.base_s) == dict.fromkeys(values, 32)


def test_below_the_floor_it_says_the_floor() -> None:
    values, forecast = problem(1, coupled=False)
    floor_s = forecast(dict.fromkeys(values, 8))
    with pytest.raises(BudgetError, match=f"below the floor.*{floor_s * 1e3:.4g}"):
        choose(values, forecast, 0.99 * floor_s)


def test_the_floor_is_at_the_fastest_widths_not_the_least() -> None:
    """As measured in integers: eight channels take longer than sixteen."""
    odd = Curve(WIDTHS, [1.5, 1.0, 1.8, 2.0], 32, 8)
    values = {root: {width: float(width) for width in WIDTHS} for root in "ab"}
    forecast = forecast_of([Work(2.0, ((root, odd),)) for root in "ab"], 0.0)
    assert fastest(values, forecast) == {"a": 16, "b": 16}
    assert choose(values, forecast, 2.0) == {"a": 16, "b": 16}
    with pytest.raises(BudgetError, match="takes 2000 of 4000 ms"):
        choose(values, forecast, 1.9)


@pytest.mark.parametrize("seed", range(6))
def test_the_floor_of_coupled_groups_is_that_of_all_plans(seed: int) -> None:
    values, forecast = problem(seed, coupled=True)
    plans = (dict(zip(values, widths, strict=True)) for widths in product(*values.values()))
    assert forecast(fastest(values, forecast)) == pytest.approx(min(map(forecast, plans)), rel=1e-3)


def test_a_group_of_one_width_keeps_it() -> None:
    values, forecast = problem(2, coupled=True)
    values["b"] = {32: 1.0}
    floor_s = forecast({**dict.fromkeys(values, 8), "b": 32})
    assert choose(values, forecast, 1.01 * floor_s)["b"] == 32


def test_a_wider_step_of_a_staircase_that_costs_nothing_is_taken() -> None:
    """24 and 32 take the same time: 24 is never chosen."""
    flat = Curve(WIDTHS, [1.0, 2.0, 3.0, 3.0], 32, 8)
    values = {root: {width: float(width) for width in WIDTHS} for root in "ab"}
    forecast = forecast_of([Work(3.0, ((root, flat),)) for root in "ab"], 0.0)
    assert sorted(choose(values, forecast, 5.0).values()) == [16, 32]
