"""One target's ladder: each recipe is built, exported, proven, measured and judged, until one is accepted."""

from collections.abc import Callable, Mapping
from pathlib import Path

from edgekit_runner.isa import int8_saturates

from edgekit import bench, gate
from edgekit.compress import AT_EXPORT
from edgekit.errors import ChildCrash, ConversionError, VerificationError
from edgekit.machine import machine_facts
from edgekit.plan import plan
from edgekit.records import (
    Artifact,
    Attempt,
    Budget,
    Candidate,
    Decision,
    Measurement,
    Plan,
    Recipe,
    Record,
    StageTime,
    Step,
    TargetReport,
    Traced,
    Verdict,
)
from edgekit.specs import CompressSpec, Context, ExportSpec, MeasureSpec, ProveSpec
from edgekit.stages import Stages
from edgekit.target import Target
from edgekit.task import TaskSource

FLOAT = Recipe(name="float32", precision="float32", steps=())
# What one recipe may fail with while the ladder goes on; anything else is the user's to mend and ends the run.
RUNG_ERRORS = (ConversionError, VerificationError, ChildCrash)


class Request(Record):
    """What stays the same for every rung of a run."""

    source: TaskSource
    traced: Traced
    host_isa: str
    seed: int


def walk(
    target: Target, isa: str, budget: Budget | Mapping[str, float] | None, request: Request, stages: Stages
) -> TargetReport:
    """The rungs in order until one is accepted."""
    ladder = plan(request.traced.facts, target, budget, isa)
    attempts: list[Attempt] = []
    baseline: Artifact | None = None
    for recipe in ladder.recipes:
        rung = Rung(target, ladder, recipe, request, stages)
        attempts.append(rung.climb())
        baseline = rung.baseline or baseline
        stages.note(target.name, f"{recipe.name}: {'; '.join(attempts[-1].decision.reasons)}")
        if attempts[-1].decision.accepted:
            break
    return TargetReport(
        target=target.name,
        isa=isa,
        runtime=target.runtime,
        accepted=bool(attempts) and attempts[-1].decision.accepted,
        attempts=tuple(attempts),
        plan=ladder,
        baseline=baseline,
        summary=_summary(ladder, attempts),
    )


def _summary(ladder: Plan, attempts: list[Attempt]) -> str:
    if not attempts:
        return "no recipe is possible: " + "; ".join(f"{s.technique}: {s.reason}" for s in ladder.skipped)
    last = attempts[-1]
    word = "accepted" if last.decision.accepted else f"refused after {len(attempts)} recipes, the last"
    return f"{word} {last.recipe.name}: {'; '.join(last.decision.reasons)}"


class Rung:
    """One recipe for one target: every stage of it, as far as it gets."""

    def __init__(
        self, target: Target, ladder: Plan, recipe: Recipe, request: Request, stages: Stages
    ) -> None:
        self._target, self._plan, self._recipe = target, ladder, recipe
        self._request, self._stages = request, stages
        self._times: list[StageTime] = []
        self._candidate: Candidate | None = None
        self._artifact: Artifact | None = None
        self._verdict: Verdict | None = None
        self._measurement: Measurement | None = None
        self.baseline: Artifact | None = None

    def climb(self) -> Attempt:
        """The attempt with its decision; a stage that fails is a refusal with its sentence."""
        error: str | None = None
        try:
            decision = self._judge()
        except RUNG_ERRORS as caught:
            error = str(caught)
            decision = Decision(accepted=False, reasons=(error,))
        return Attempt(
            recipe=self._recipe,
            decision=decision,
            candidate=self._candidate,
            artifact=self._artifact,
            verdict=self._verdict,
            measurement=self._measurement,
            error=error,
            stages=tuple(self._times),
        )

    def _judge(self) -> Decision:
        self.baseline = self._float_artifact()
        self._candidate = self._compress()
        self._artifact = (
            self.baseline if self._recipe.precision == "float32" else self._export(self._candidate)
        )
        self._verdict = self._prove(self._artifact)
        self._measurement = self._measure(self._artifact, self.baseline, str(self._verdict.golden))
        return gate.decide(self._plan.budget, self._artifact, self.baseline, self._verdict, self._measurement)

    def _compress(self) -> Candidate:
        quant = self._target.quant_for(self._plan.isa) if self._recipe.precision == "int8" else None
        candidate = Candidate(program=self._request.traced.program, recipe=self._recipe, quant=quant)
        for step in self._recipe.steps:
            if step.technique in AT_EXPORT:
                continue
            candidate, time = self._stages.run(
                self._target.name,
                self._recipe.name,
                "edgekit.compress._stage:compress",
                self._compress_spec(candidate, step),
                Candidate,
                name=step.technique,
            )
            self._times.append(time)
        return candidate

    def _compress_spec(self, candidate: Candidate, step: Step) -> Callable[[Path], Record]:
        def spec(folder: Path) -> Record:
            context = Context(
                work=str(folder),
                target=self._target,
                traced=self._request.traced,
                budget=self._plan.budget,
                isa=self._plan.isa,
                seed=self._request.seed,
            )
            return CompressSpec(candidate=candidate, step=step, source=self._request.source, context=context)

        return spec

    def _float_artifact(self) -> Artifact:
        """The float32 file of this format, shared by all targets that use it."""
        candidate = Candidate(program=self._request.traced.program, recipe=FLOAT)
        key = f"float-{self._target.format}-{self._target.deployment.min_ios}"
        return self._stages.once(key, lambda: self._export(candidate, ""))

    def _export(self, candidate: Candidate, owner: str | None = None) -> Artifact:
        artifact, time = self._stages.run(
            self._target.name if owner is None else owner,
            f"export {candidate.recipe.precision} {self._target.format}",
            "edgekit.export._stage:export",
            lambda folder: ExportSpec(candidate=candidate, target=self._target, folder=str(folder)),
            Artifact,
            name=f"export-{self._target.format}",
        )
        self._times.append(time)
        return artifact

    def _prove(self, artifact: Artifact) -> Verdict:
        def spec(folder: Path) -> ProveSpec:
            return ProveSpec(
                artifact=artifact,
                traced=self._request.traced,
                source=self._request.source,
                runtime=self._target.runtime,
                isa=self._plan.isa,
                host_isa=self._request.host_isa,
                golden=str(folder / "golden.npz"),
                exact=self._exact(artifact),
                seed=self._request.seed,
            )

        verdict, time = self._stages.run(
            self._target.name, "verify", "edgekit.verify.prove:prove", spec, Verdict, name="verify"
        )
        self._times.append(time)
        return verdict

    def _exact(self, artifact: Artifact) -> bool:
        """Whether this host's fused int8 kernels saturate where the target's do not, so that they prove nothing."""
        saturates = int8_saturates(self._request.host_isa)
        return self._target.isa.verify_exact and artifact.precision == "int8" and saturates

    def _measure(self, artifact: Artifact, baseline: Artifact, golden: str) -> Measurement:
        if self._exact(artifact):
            return bench.unmeasured(
                f"not measured on the target: the int8 kernels of this {self._request.host_isa} machine saturate"
            )
        measurement, time = self._stages.run(
            self._target.name,
            "measure",
            "edgekit.measure:measure",
            lambda folder: MeasureSpec(
                artifact=artifact,
                baseline=baseline,
                golden=golden,
                traced=self._request.traced,
                target=self._target,
                isa=self._plan.isa,
                machine=machine_facts(),
                work=str(folder),
            ),
            Measurement,
            name="measure",
            alone=True,
        )
        self._times.append(time)
        return measurement
