"""All targets of a run: what is asked of each is checked before any work, then their ladders are walked side by side."""

from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

from edgekit import requirements
from edgekit.engine.stages import Stages
from edgekit.errors import ConversionError, UserError
from edgekit.ladder import feasibility
from edgekit.ladder.context import RunRequest
from edgekit.ladder.planner import budget_for, plan
from edgekit.ladder.profiles import choose_isa, load_targets
from edgekit.ladder.recipe_parser import with_recipes
from edgekit.ladder.walk import walk
from edgekit.records import Budget, TargetReport
from edgekit.target import Target

AnyBudget = Budget | Mapping[str, float | str] | None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The targets that are asked for.

    Attributes:
        profiles: Their profiles, with the recipes that were asked for.
        levels: The instruction-set level that will serve each.
        budget: In place of each profile's, or what overrides some of its fields.
    """

    profiles: tuple[Target, ...]
    levels: tuple[str, ...]
    budget: AnyBudget

    def raise_if_impossible(self, request: RunRequest) -> None:
        """Raises where no target can reach the size: that is for the user to fix.

        A size that some target can reach is for the report to tell.

        Raises:
            UserError: No target can.
        """
        traced = request.traced
        pairs = zip(self.profiles, self.levels, strict=True)
        plans = [plan(traced.facts, target, self.budget, level) for target, level in pairs]
        found = [feasibility.too_small(made, traced) for made in plans]
        if all(found):
            raise UserError("; ".join(dict.fromkeys(found)))

    def walk(self, request: RunRequest, stages: Stages) -> list[TargetReport]:
        """Walks the ladders; the first error, or an interrupt, ends them all."""
        with ThreadPoolExecutor(max_workers=len(self.profiles)) as pool:
            try:
                walks = [
                    pool.submit(walk, target, level, self.budget, request, stages)
                    for target, level in zip(self.profiles, self.levels, strict=True)
                ]
                for done in wait(walks, return_when=FIRST_EXCEPTION).done:
                    done.result()
            except BaseException:
                stages.stop()
                raise
        return [done.result() for done in walks]


def asked(targets: Iterable[str], isa: str | None, recipes: tuple[str, ...], budget: AnyBudget) -> Asked:
    """Reads the profiles, and refuses before any work what cannot be met or is not installed.

    Raises:
        UserError: A name, a level, a recipe or a budget is wrong.
        MissingRuntime: A package that a target needs is not installed.
    """
    profiles = tuple(with_recipes(target, recipes) for target in load_targets(targets))
    levels = tuple(choose_isa(target, isa, profiles) for target in profiles)
    for target in profiles:
        feasibility.check(budget_for(target, budget), target)
    requirements.check(profiles)
    return Asked(profiles=profiles, levels=levels, budget=budget)


def raise_if_nothing_converts(results: list[TargetReport]) -> None:
    """Raises for a model that no converter takes: that is for the user to fix, not a budget that was missed.

    Raises:
        ConversionError: No attempt of any target came to a file.
    """
    attempts = [attempt for result in results for attempt in result.attempts]
    errors = [a.error for a in attempts if a.error is not None and a.artifact is None]
    if attempts and len(errors) == len(attempts):
        raise ConversionError("; ".join(dict.fromkeys(errors)))
