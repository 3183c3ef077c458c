"""One target's ladder: recipe after recipe, until one is accepted or, exploring, all were tried."""

from collections.abc import Mapping, Sequence, Set

import msgspec

from edgekit import technique
from edgekit.engine.stages import Stages
from edgekit.ladder import feasibility, pareto, selection
from edgekit.ladder.attempt import AttemptRunner
from edgekit.ladder.context import RecipeContext, RunRequest
from edgekit.ladder.emulation_gate import COUNT
from edgekit.ladder.gate import LITTLE_GAIN, PROMISE
from edgekit.ladder.path import path_of
from edgekit.ladder.planner import plan
from edgekit.records import Artifact, Attempt, Budget, Plan, Recipe, Skipped, TargetReport
from edgekit.report import text
from edgekit.target import Target

TIME = {"min_speedup", "max_latency_s", COUNT}
SIZE = {"max_size_bytes", LITTLE_GAIN}
UNCHANGED_BY_RANGES = TIME | {"max_size_bytes", "max_memory_bytes", LITTLE_GAIN}


def walk(
    target: Target,
    isa: str,
    budget: Budget | Mapping[str, float | str] | None,
    request: RunRequest,
    stages: Stages,
) -> TargetReport:
    """Tries the rungs of one target in order, until one is accepted or, exploring, all were tried.

    Args:
        target: The profile.
        isa: The instruction-set level that will serve.
        budget: None takes the profile's, a Budget replaces it, a mapping overrides some of its fields.
        request: What stays the same for every rung of a run.
        stages: Runs the stages.
    """
    ladder = plan(request.traced.facts, target, budget, isa)
    impossible = feasibility.no_program(request.traced.facts, target) or feasibility.too_small(
        ladder, request.traced
    )
    if impossible:
        stages.note(target.name, impossible)
        return _refused(target, ladder, impossible)
    walked = _Walk(target, ladder, request, stages)
    for recipe in ladder.recipes:
        if walked.take(recipe):
            break
    stages.expect(target.name, ())
    return walked.report()


class _Walk:
    """How far one target's ladder was walked."""

    def __init__(self, target: Target, ladder: Plan, request: RunRequest, stages: Stages) -> None:
        self.target, self.ladder, self.request, self.stages = target, ladder, request, stages
        self.attempts: list[Attempt] = []
        self.left_out: list[Skipped] = []
        self.baseline: Artifact | None = None
        self.untranslatable = ""

    def take(self, recipe: Recipe) -> bool:
        """Tries a recipe, or notes why it is left out; whether it ends the walk."""
        if self.untranslatable and not _by_another_converter(recipe):
            self.left_out.append(Skipped(technique=recipe.name, reason=self.untranslatable))
            return False
        reason = _in_time(recipe, self.attempts) or (
            "" if self.request.explore else _pointless(recipe, self.attempts)
        )
        if reason:
            self.stages.note(self.target.name, f"{recipe.name} left out: {reason}")
            self.left_out.append(Skipped(technique=recipe.name, reason=reason))
            return False
        done = self._try(recipe)
        self.stages.note(self.target.name, f"{recipe.name}: {'; '.join(done.decision.reasons)}")
        return done.decision.accepted and not self.request.explore and not _under_another_name(done)

    def _try(self, recipe: Recipe) -> Attempt:
        self.stages.expect(self.target.name, path_of(recipe, self.target))
        context = RecipeContext(self.target, self.ladder, recipe, self.request, self.stages)
        runner = AttemptRunner(context, self.attempts)
        self.attempts.append(runner.run())
        self.baseline = runner.baseline or self.baseline
        if runner.is_untranslatable:
            self.untranslatable = (
                f"the float model itself does not convert (see {recipe.name}), which no recipe changes"
            )
        return self.attempts[-1]

    def report(self) -> TargetReport:
        """Returns what was tried, what was left out, and what ships."""
        shipped = selection.to_ship(self.attempts)
        return TargetReport(
            target=self.target.name,
            isa=self.ladder.isa,
            runtime=self.target.runtime,
            accepted=shipped is not None,
            shipped=shipped,
            nearest=selection.nearest(self.attempts),
            explored=self.request.explore,
            attempts=tuple(self.attempts),
            points=pareto.points(self.attempts, self.baseline),
            plan=msgspec.structs.replace(self.ladder, skipped=(*self.ladder.skipped, *self.left_out)),
            baseline=self.baseline,
            summary=_summary(self.ladder, self.attempts, shipped),
        )


def _refused(target: Target, ladder: Plan, why: str) -> TargetReport:
    """Reports a target that is refused without a try."""
    return TargetReport(
        target=target.name,
        isa=ladder.isa,
        runtime=target.runtime,
        accepted=False,
        attempts=(),
        plan=ladder,
        summary=why,
    )


def _summary(ladder: Plan, attempts: list[Attempt], shipped: int | None) -> str:
    if not attempts:
        return "no recipe is possible: " + "; ".join(f"{s.technique}: {s.reason}" for s in ladder.skipped)
    if shipped is not None:
        best = attempts[shipped]
        accepted = sum(attempt.decision.accepted for attempt in attempts)
        among = f", the best of {accepted} accepted" if accepted > 1 else ""
        return f"accepted {best.recipe.name}: {'; '.join(best.decision.reasons)}{among}"
    refused = f"refused {text.count(len(attempts), 'recipe')}"
    best_found = selection.nearest(attempts)
    if best_found is not None:
        return f"{refused}; best found: {selection.describe(attempts[best_found])}"
    last = attempts[-1]
    return f"{refused}, the last {last.recipe.name}: {'; '.join(last.decision.reasons)}"


def _pointless(recipe: Recipe, attempts: Sequence[Attempt]) -> str:
    """Returns why a recipe that cannot mend what was broken is not tried; empty where it is tried."""
    if reason := _settled_by_another_name(recipe, attempts):
        return reason
    mends = {technique.of(step).mends for step in recipe.steps}
    if mends == {"accuracy"}:
        return _other_integers(attempts)
    if "size" in mends:
        return _small_enough(recipe, attempts)
    if "cost" in mends and attempts and not any(_broken(attempt) for attempt in attempts):
        return "no recipe before broke a limit of time, size or memory: a smaller network mends nothing else"
    return ""


def _small_enough(recipe: Recipe, attempts: Sequence[Attempt]) -> str:
    """Returns why fewer bits a weight are pointless, or "".

    They are where the same precision without them was tried and broke no limit of size.
    """
    same = [a for a in attempts if a.recipe.precision == recipe.precision]
    plain = [a for a in same if "size" not in {technique.of(step).mends for step in a.recipe.steps}]
    if not plain or any(_broken(attempt, SIZE) for attempt in plain):
        return ""
    return f"{plain[0].recipe.name} broke no limit of size: smaller weights mend nothing else"


def _by_another_converter(recipe: Recipe) -> bool:
    return any(technique.of(step).by_tensorflow for step in recipe.steps)


def _under_another_name(attempt: Attempt) -> bool:
    """Whether it was accepted as less than its recipe promised: "mixed, 38 % of the work in integers"."""
    artifact, verdict = attempt.artifact, attempt.verdict
    if artifact is None or verdict is None or not attempt.decision.accepted:
        return False
    return verdict.lint.called not in ("", artifact.precision)


def _settled_by_another_name(recipe: Recipe, attempts: Sequence[Attempt]) -> str:
    """Returns why a recipe is pointless after an attempt that was accepted as mixed; empty where it is not.

    What was accepted as mixed competes with recipes of another precision; the same one would leave out the same layers.
    """
    for attempt in attempts:
        if _under_another_name(attempt) and recipe.precision in (attempt.recipe.precision, "float32"):
            return f"{attempt.recipe.name} was accepted as what it is; only another kind of file can still be better"
    return ""


def _in_time(recipe: Recipe, attempts: Sequence[Attempt]) -> str:
    """Returns why nothing is to be pruned for time.

    Empty where the recipe asks for a time of its own, a limit of time was missed, or none was measured.
    """
    cuts = [step.options for step in recipe.steps if technique.times_widths(step)]
    timed = [a for a in attempts if a.measurement is not None and a.measurement.on_target]
    if not timed or not cuts or any("speedup" in options for options in cuts):
        return ""
    if any(TIME & set(_broken(attempt)) for attempt in timed):
        return ""
    return "no recipe before broke a limit of time: there is nothing to prune for"


def _other_integers(attempts: Sequence[Attempt]) -> str:
    """Returns why recipes that only change the integers are pointless, or "".

    They change accuracy, never time, size or memory, nor what is computed in integers.
    """
    for attempt in attempts:
        broken = _broken(attempt, UNCHANGED_BY_RANGES | {PROMISE})
        if broken and {technique.of(step).mends for step in attempt.recipe.steps} == {"accuracy"}:
            return f"{attempt.recipe.name} broke {' and '.join(broken)}, which other ranges or rounding do not change"
    return ""


def _broken(attempt: Attempt, limits: Set[str] = UNCHANGED_BY_RANGES) -> list[str]:
    """Lists the limits of time, size and memory that the attempt did not keep."""
    return sorted({s.limit for s in attempt.decision.shortfalls} & limits)
