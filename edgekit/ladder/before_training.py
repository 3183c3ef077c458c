"""What a recipe that trains will take, known before it trains: training changes weights, and no time.

Its file is made without the steps that train, and measured. Where that already breaks a limit of time, the recipe is refused
after seconds, not after minutes. What such a file answers counts for nothing.
"""

from collections.abc import Callable

import msgspec

from edgekit import technique
from edgekit.errors import EdgekitError
from edgekit.ladder import gate
from edgekit.ladder.context import RecipeContext
from edgekit.records import Budget, Decision, Measurement, Recipe, Step

REPLACES = "student"  # the option of a step that trains another network than the one that it gets


def refusal(
    context: RecipeContext,
    measured: Callable[[RecipeContext], Measurement | None],
    may_fail: tuple[type[EdgekitError], ...],
) -> Decision | None:
    """Measures a recipe without its training.

    Args:
        context: Where the recipe is worked on.
        measured: Makes and measures the file of a recipe.
        may_fail: What that may raise; nothing is known then.

    Returns:
        Why its training would be in vain; None where it would not, or where that is not known.
    """
    recipe = untrained(context.recipe)
    if recipe is None or context.request.explore or not _limits_time(context.plan.budget):
        return None
    context.note(f"{context.recipe.name}: timed before its training, which changes no time")
    try:
        found = measured(context.of(recipe))
    except may_fail as error:
        context.note(f"{context.recipe.name}: nothing is known before its training: {error}")
        return None
    return in_vain(context.plan.budget, found) if found is not None else None


def in_vain(budget: Budget, measurement: Measurement) -> Decision | None:
    """Refuses a recipe by what its file takes before it is trained; None where it keeps the limits of time and memory."""
    failures, _ = gate.speed(budget, measurement)
    if not failures:
        return None
    return Decision(
        accepted=False,
        reasons=tuple(f"not trained, which changes no time: {failure.why}" for failure in failures),
        shortfalls=tuple(failure.shortfall for failure in failures),
    )


def trains(recipe: Recipe) -> bool:
    """Whether a step of it trains, which takes minutes."""
    return any(technique.of(step).trains for step in recipe.steps)


def untrained(recipe: Recipe) -> Recipe | None:
    """Returns the recipe whose file is as fast, without its training; None where there is none, or nothing to save."""
    trained = [step for step in recipe.steps if technique.of(step).trains]
    if not trains(recipe) or not any(technique.of(step).mends == "cost" for step in recipe.steps):
        return None
    if any(step.options.get(REPLACES) or technique.of(step).timed_as is None for step in trained):
        return None
    steps = [part for step in recipe.steps for part in _timed_as(step)]
    return msgspec.structs.replace(recipe, name=f"{recipe.name}, untrained", steps=tuple(steps))


def _timed_as(step: Step) -> list[Step]:
    name = technique.of(step).timed_as
    if name is None:
        return [step]
    return [Step(technique=name)] if name else []


def _limits_time(budget: Budget) -> bool:
    """Whether it asks for more than to be as fast as float, which a smaller network is."""
    return budget.min_speedup > 1 or budget.max_latency_s is not None
