"""Budgets that nothing can meet are refused before the work, and no other."""

from pathlib import Path

import pytest
from builders import TRACED

from edgekit.errors import UserError
from edgekit.ladder import feasibility
from edgekit.ladder.planner import plan
from edgekit.profile.reading import load_target
from edgekit.records import Budget, Plan, Recipe, Step, TaskFacts
from edgekit.target import Target

FACTS = TaskFacts(name="t", calibration=True, training=False)


def only(*techniques: tuple[str, str]) -> Target:
    """x86-server with these rungs alone."""
    target = load_target("x86-server")
    rungs = tuple(r for r in target.ladder if (r.technique, r.precision) in techniques)
    fields = {name: getattr(target, name) for name in target.__struct_fields__}
    return Target(**{**fields, "ladder": rungs})


FLOAT = only(("float32", "float32"))


def test_speed_without_a_technique_that_gives_it() -> None:
    with pytest.raises(
        UserError, match=r"budget min_speedup is 1\.5, but the ladder of x86-server holds only float32"
    ):
        feasibility.check(Budget(min_speedup=1.5), FLOAT)


@pytest.mark.parametrize("speedup", [0, 0.5, 1])
def test_speed_that_float_has(speedup: float) -> None:
    feasibility.check(Budget(min_speedup=speedup), FLOAT)


def test_any_other_technique_may_give_speed() -> None:
    feasibility.check(Budget(min_speedup=3), only(("float32", "float32"), ("fp16", "float16")))


# -- size


def made(limit: int | None, target: Target, facts: TaskFacts = FACTS) -> Plan:
    return plan(facts, target, Budget(max_size_bytes=limit))


INT8 = load_target("x86-server")
HALF = only(("float32", "float32"), ("fp16", "float16"))


@pytest.mark.parametrize(
    ("target", "limit", "possible"),
    [(INT8, 999, False), (INT8, 1000, True), (HALF, 1999, False), (HALF, 2000, True), (FLOAT, 3999, False)],
)
def test_size_below_the_weights_of_the_smallest_precision(target: Target, limit: int, possible: bool) -> None:
    assert (feasibility.too_small(made(limit, target), TRACED) == "") == possible


def test_the_sentence() -> None:
    assert feasibility.too_small(made(999, INT8), TRACED) == (
        "budget max_size_bytes 999 cannot be met: 1000 weights take at least 1000 bytes in int8, the smallest that "
        "x86-server offers here; allowed: more than 1000"
    )


def test_without_calibration_integers_are_not_offered() -> None:
    facts = TaskFacts(name="t", calibration=False, training=False)
    assert "2000 bytes in float16" in feasibility.too_small(made(1500, INT8, facts), TRACED)


def test_no_limit_and_no_recipe_contradict_nothing() -> None:
    assert feasibility.too_small(made(None, INT8), TRACED) == ""
    assert feasibility.too_small(made(1, only()), TRACED) == ""


def test_a_technique_that_removes_weights_has_no_such_bound() -> None:
    pruned = Recipe(name="prune", precision="int8", steps=(Step(technique="prune"), Step(technique="ptq")))
    given = made(10, INT8)
    ladder = Plan(**{**{n: getattr(given, n) for n in given.__struct_fields__}, "recipes": (pruned,)})
    assert feasibility.too_small(ladder, TRACED) == ""


def test_every_profile_is_met_by_its_own_budget() -> None:
    for path in (Path(__file__).parents[2] / "targets").glob("[!_]*.toml"):
        target = load_target(path.stem)
        feasibility.check(target.budget, target)
