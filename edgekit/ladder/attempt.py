"""One recipe for one target: built, exported, proven, measured and judged, as far as it gets."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
from edgekit_runner.host.isa import int8_saturates

from edgekit import requirements
from edgekit.engine.catalogue import BLAME, MEASURE, PROVE
from edgekit.engine.machine import machine_facts
from edgekit.engine.measure_specs import MeasureSpec
from edgekit.engine.stage_folder import UNNAMED
from edgekit.engine.verify_specs import BlameSpec, ProveSpec
from edgekit.errors import (
    BudgetError,
    ChildCrash,
    ConversionError,
    DeviceError,
    NotApplicable,
    TrainingError,
    VerificationError,
)
from edgekit.golden import raise_unless_same
from edgekit.ladder import before_training, gate, measuring, runtime_choice
from edgekit.ladder.build import ArtifactBuilder
from edgekit.ladder.comparable import by_content, has_no_reference, is_all_integers
from edgekit.ladder.context import RecipeContext
from edgekit.ladder.emulation_gate import with_emulated
from edgekit.ladder.measuring import DEVICE_GOLDEN
from edgekit.measure import comparison, lab
from edgekit.records import (
    Artifact,
    Attempt,
    Blame,
    Candidate,
    Decision,
    Measurement,
    RuntimeChoice,
    RuntimeTrial,
    Verdict,
)

# What one recipe may fail with while the ladder continues; anything else is for the user to fix and ends the run.
ATTEMPT_ERRORS = (ConversionError, NotApplicable, VerificationError, ChildCrash, TrainingError, BudgetError)


class AttemptRunner:
    """Runs every stage of one recipe for one target, as far as it gets.

    Args:
        context: Where the recipe is worked on.
        earlier: The attempts before this one.

    Attributes:
        baseline: The float file, once it is made.
        is_untranslatable: Whether the converter has no form of the float model, which no other recipe changes.
    """

    def __init__(self, context: RecipeContext, earlier: Sequence[Attempt]) -> None:
        self._context, self._target, self._request = context, context.target, context.request
        self._blamed = any(a.blame is not None for a in earlier)
        integers = next((a.artifact for a in earlier if is_all_integers(a)), None)
        self._builder = ArtifactBuilder(context, integers)
        self._candidate: Candidate | None = None
        self._artifact: Artifact | None = None
        self._verdict: Verdict | None = None
        self._wrong = False
        self._device = measuring.device_for(context.target, context.request.devices) if context.target else ""
        self._measurement: Measurement | None = None
        self.baseline: Artifact | None = None
        self.is_untranslatable = False

    def run(self) -> Attempt:
        """Returns the attempt with its decision; a stage that fails is a refusal with its sentence."""
        error: str | None = None
        try:
            decision = self._judge()
        except ATTEMPT_ERRORS as caught:
            error = str(caught)
            self._wrong = isinstance(caught, VerificationError)
            decision = Decision(accepted=False, reasons=(error,))
        blame = self._blame(decision)
        return Attempt(
            recipe=self._context.recipe,
            decision=decision,
            blame=blame,
            candidate=self._candidate,
            artifact=self._artifact,
            verdict=self._verdict,
            measurement=self._measurement,
            error=error,
            runtimes=self._runtimes(decision),
            stages=tuple(self._context.times),
        )

    def _measured_of(self, context: RecipeContext) -> Measurement | None:
        other = AttemptRunner(context, ())
        other._judge()
        return other._measurement

    def _judge(self) -> Decision:
        with ThreadPoolExecutor(1) as beside:
            made = beside.submit(self._builder.float_artifact)
            if before_training.trains(self._context.recipe):  # not in vain, where the float model has no file
                self._take_baseline(made)
                if refused := before_training.refusal(self._context, self._measured_of, ATTEMPT_ERRORS):
                    return refused
            try:
                self._candidate = self._builder.candidate()
            finally:
                baseline = self._take_baseline(made)
        self._artifact = self._builder.artifact(self._candidate)
        found = self._run_in(self._target.runtime, self._artifact, baseline)
        self._verdict, self._measurement, decision = found
        return decision

    def _take_baseline(self, made: "Future[Artifact]") -> Artifact:
        try:
            self.baseline = made.result()
        except ConversionError:
            self.is_untranslatable = True
            raise
        return self.baseline

    def _run_in(
        self, runtime: str, artifact: Artifact, baseline: Artifact, version: str = ""
    ) -> tuple[Verdict, Measurement, Decision]:
        """Proves, times and judges the artifact in one runtime, beside float in the target's own."""
        verdict = self._prove(artifact, runtime, version)
        if runtime == self._target.runtime:
            self._verdict = verdict
        elif self._verdict and self._verdict.golden and verdict.golden:
            raise_unless_same(Path(self._verdict.golden), Path(verdict.golden), artifact.precision)
        measurement = self._measure(artifact, baseline, str(verdict.golden), runtime, version)
        if runtime == self._target.runtime:
            measurement = with_emulated(self._context, artifact, baseline, str(verdict.golden), measurement)
        decision = gate.decide(self._context.plan.budget, artifact, baseline, verdict, measurement)
        return verdict, measurement, decision

    def _runtimes(self, decision: Decision) -> RuntimeChoice | None:
        """Tries an accepted file in the target's other runtimes."""
        artifact, baseline, verdict, measured = (
            self._artifact,
            self.baseline,
            self._verdict,
            self._measurement,
        )
        if not decision.accepted or not (artifact and baseline and verdict and measured):
            return None
        others = self._target.other_runtimes
        if not others:
            return None
        own = self._target.runtime
        mine = runtime_choice.trial(own, requirements.runtime_version(own), decision, verdict, measured)
        return runtime_choice.choose([mine, *(self._try_in(name, artifact, baseline) for name in others)])

    def _try_in(self, runtime: str, artifact: Artifact, baseline: Artifact) -> RuntimeTrial:
        lacking = requirements.lacking(runtime)
        if lacking:
            return runtime_choice.untried(runtime, lacking)
        version = requirements.runtime_version(runtime)
        try:
            verdict, measured, decision = self._run_in(runtime, artifact, baseline, version)
        except ATTEMPT_ERRORS as error:
            return RuntimeTrial(runtime=runtime, version=version, accepted=False, reason=str(error))
        return runtime_choice.trial(runtime, version, decision, verdict, measured)

    def _blame(self, decision: Decision) -> Blame | None:
        """Finds the layer to blame for a wrong answer.

        Of answers that are only worse, the first attempt's is enough.
        """
        inaccurate = (
            any(s.limit in ("max_drop", "min_agreement", "floor") for s in decision.shortfalls)
            and not self._blamed
        )
        if decision.accepted or not (inaccurate or self._wrong):
            return None
        artifact, candidate = self._artifact, self._candidate
        if artifact is None or candidate is None or has_no_reference(candidate):
            return None
        traced = msgspec.structs.replace(self._request.traced, program=self._builder.float_program)
        spec = BlameSpec(artifact=artifact, candidate=candidate, traced=traced, runtime=self._target.runtime)
        try:
            blame = self._context.run(BLAME, lambda _folder: spec)
        except ATTEMPT_ERRORS as error:
            self._context.note(f"no layer to blame was found: {error}")
            return None
        self._context.note(f"blame: {blame.conclusion}")
        return blame

    def _prove(self, artifact: Artifact, runtime: str, version: str) -> Verdict:
        def spec(folder: Path) -> ProveSpec:
            return ProveSpec(
                artifact=artifact,
                traced=self._request.traced,
                source=self._request.source,
                runtime=runtime,
                runtime_version=version,
                isa=self._context.plan.isa,
                host_isa=self._request.host_isa,
                golden=str(folder / "golden.npz"),
                exact=self._exact(artifact),
                seed=self._request.seed,
                program=self._changed_float(),
                precision_share=self._target.precision_share,
                full_integer=self._target.full_integer,
                promised_db=self._candidate.promised_db if self._candidate else (),
                device_golden=str(folder / DEVICE_GOLDEN) if self._device or self._request.arm else "",
            )

        content = msgspec.structs.replace(spec(UNNAMED), artifact=by_content(artifact))
        return self._context.run_once(PROVE, spec, content)

    def _changed_float(self) -> str:
        """Returns the float program of the artifact where steps changed what the float model computes; else ""."""
        program = self._builder.float_program
        return program if program != self._request.traced.program else ""

    def _exact(self, artifact: Artifact) -> bool:
        """Whether this host's fused int8 kernels saturate where the target's do not, so that they prove nothing."""
        saturates = int8_saturates(self._request.host_isa)
        return self._target.isa.verify_exact and artifact.precision == "int8" and saturates

    def _measure(
        self, artifact: Artifact, baseline: Artifact, golden: str, runtime: str, version: str
    ) -> Measurement:
        record = lab.find(self._request.records, artifact, baseline) if not version else None
        if record is not None:
            return comparison.of_record(record, artifact, self._target, self._context.plan.isa, "a record")
        if self._exact(artifact) and not self._device:
            return comparison.unmeasured(
                f"not measured on the target: the int8 kernels of this {self._request.host_isa} machine saturate"
            )

        def spec(folder: Path) -> MeasureSpec:
            return MeasureSpec(
                artifact=artifact,
                baseline=baseline,
                golden=str(Path(golden).with_name(DEVICE_GOLDEN)) if self._device else golden,
                traced=self._request.traced,
                target=self._target,
                isa=self._context.plan.isa,
                machine=machine_facts(),
                work=str(folder),
                runtime=runtime,
                runtime_version=version,
                device=self._device,
            )

        content = msgspec.structs.replace(
            spec(UNNAMED), artifact=by_content(artifact), baseline=by_content(baseline)
        )
        try:
            found = self._context.run_once(MEASURE, spec, content)
        except DeviceError as error:
            self._context.note(str(error))
            return comparison.unmeasured(f"not measured: {error}")
        return measuring.with_silent(found, self._request.devices)
