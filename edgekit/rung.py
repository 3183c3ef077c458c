"""One recipe for one target: built, exported, proven, measured and judged, as far as it gets."""

from collections.abc import Callable, Sequence
from pathlib import Path
from platform import machine

from edgekit_runner.isa import int8_saturates

from edgekit import bench, gate
from edgekit.compress import AT_EXPORT, BY_TENSORFLOW, NEEDS_TIMES
from edgekit.errors import ChildCrash, ConversionError, TrainingError, VerificationError
from edgekit.machine import machine_facts
from edgekit.records import (
    Artifact,
    Attempt,
    Blame,
    Candidate,
    Decision,
    LayerTimes,
    Measurement,
    Plan,
    Recipe,
    Record,
    StageTime,
    Step,
    Traced,
    Verdict,
)
from edgekit.specs import (
    BlameSpec,
    CompressSpec,
    Context,
    ExportSpec,
    LayerTimesSpec,
    MeasureSpec,
    ProveSpec,
    SavedModel,
    SavedModelSpec,
)
from edgekit.stages import Stages
from edgekit.target import Target
from edgekit.task import TaskSource

FLOAT = Recipe(name="float32", precision="float32", steps=())
# What one recipe may fail with while the ladder goes on; anything else is the user's to mend and ends the run.
RUNG_ERRORS = (ConversionError, VerificationError, ChildCrash, TrainingError)


class Request(Record):
    """What stays the same for every rung of a run."""

    source: TaskSource
    traced: Traced
    host_isa: str
    seed: int
    explore: bool = False


def _is_all_integers(attempt: Attempt) -> bool:
    made = attempt.candidate
    if made is None or made.saved_model:  # no layer of such a file is known by a name of the program
        return False
    return made.recipe.precision == "int8" and made.scheme == "static" and not made.float_layers


def _has_no_twin(candidate: Candidate) -> bool:
    """Whether there is no program whose numbers an artifact should hold: TensorFlow's converter has its own, and the program of
    a dynamic candidate is float, beside which each integer would look like a wrong kernel."""
    return bool(candidate.saved_model) or candidate.scheme == "dynamic"


class Rung:
    """One recipe for one target: every stage of it, as far as it gets."""

    def __init__(
        self,
        target: Target,
        ladder: Plan,
        recipe: Recipe,
        request: Request,
        stages: Stages,
        earlier: Sequence[Attempt],
    ) -> None:
        self._target, self._plan, self._recipe = target, ladder, recipe
        self._request, self._stages = request, stages
        self._blamed = any(a.blame is not None for a in earlier)
        self._integers = next((a.artifact for a in earlier if _is_all_integers(a)), None)
        self._times: list[StageTime] = []
        self._candidate: Candidate | None = None
        self._artifact: Artifact | None = None
        self._verdict: Verdict | None = None
        self._wrong = False
        self._measurement: Measurement | None = None
        self.baseline: Artifact | None = None

    def climb(self) -> Attempt:
        """The attempt with its decision; a stage that fails is a refusal with its sentence."""
        error: str | None = None
        try:
            decision = self._judge()
        except RUNG_ERRORS as caught:
            error = str(caught)
            self._wrong = isinstance(caught, VerificationError)
            decision = Decision(accepted=False, reasons=(error,))
        blame = self._blame(decision)
        return Attempt(
            recipe=self._recipe,
            decision=decision,
            blame=blame,
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
        untouched = self._recipe.precision == "float32" and not self._changed()
        self._artifact = self.baseline if untouched else self._export(self._candidate)
        self._verdict = self._prove(self._artifact)
        self._measurement = self._measure(self._artifact, self.baseline, str(self._verdict.golden))
        return gate.decide(self._plan.budget, self._artifact, self.baseline, self._verdict, self._measurement)

    def _blame(self, decision: Decision) -> Blame | None:
        """Which layer is to blame for a wrong answer; of answers that are only worse, the first attempt's is enough."""
        inaccurate = (
            any(s.limit in ("max_drop", "min_agreement") for s in decision.shortfalls) and not self._blamed
        )
        if decision.accepted or not (inaccurate or self._wrong):
            return None
        artifact, candidate = self._artifact, self._candidate
        if artifact is None or candidate is None or _has_no_twin(candidate):
            return None
        spec = BlameSpec(
            artifact=artifact, candidate=candidate, traced=self._request.traced, runtime=self._target.runtime
        )
        try:
            blame, time = self._stages.run(
                self._target.name,
                "blame",
                "edgekit.verify.blame:blame",
                lambda _folder: spec,
                Blame,
                name="blame",
            )
        except RUNG_ERRORS as error:
            self._stages.note(self._target.name, f"no layer to blame was found: {error}")
            return None
        self._times.append(time)
        self._stages.note(self._target.name, f"blame: {blame.conclusion}")
        return blame

    def _compress(self) -> Candidate:
        quant = self._target.quant_for(self._plan.isa) if self._recipe.precision == "int8" else None
        candidate = Candidate(
            program=self._request.traced.program,
            recipe=self._recipe,
            quant=quant,
            saved_model=self._saved_model(),
        )
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
        times = self._layer_times() if step.technique in NEEDS_TIMES else None

        def spec(folder: Path) -> Record:
            context = Context(
                work=str(folder),
                target=self._target,
                traced=self._request.traced,
                budget=self._plan.budget,
                isa=self._plan.isa,
                seed=self._request.seed,
                times=times,
            )
            return CompressSpec(candidate=candidate, step=step, source=self._request.source, context=context)

        return spec

    def _layer_times(self) -> LayerTimes | None:
        """Of an earlier integer file against the float one, where this machine is one of the target's."""
        artifact, baseline = self._integers, self.baseline
        if artifact is None or baseline is None or not self._target.admits(machine(), self._request.host_isa):
            return None
        spec = LayerTimesSpec(
            artifact=artifact, baseline=baseline, runtime=self._target.runtime, machine=machine_facts()
        )
        times, time = self._stages.run(
            self._target.name,
            "time layers",
            "edgekit.verify.layer_times:layer_times",
            lambda _folder: spec,
            LayerTimes,
            name="layer-times",
            alone=True,
        )
        self._times.append(time)
        return times

    def _float_artifact(self) -> Artifact:
        """The float32 file of this format by the same converter, shared by all targets that use it."""
        saved_model = self._saved_model()
        candidate = Candidate(program=self._request.traced.program, recipe=FLOAT, saved_model=saved_model)
        key = f"float-{self._target.format}-{self._target.deployment.min_ios}-{bool(saved_model)}"
        return self._stages.once(key, lambda: self._export(candidate, ""))

    def _saved_model(self) -> str:
        """What TensorFlow's converter starts from; empty for recipes that go another way."""
        traced = self._request.traced
        if traced.program and not any(step.technique in BY_TENSORFLOW for step in self._recipe.steps):
            return ""
        if not traced.tensorflow.endswith(".keras"):
            return traced.tensorflow
        return self._stages.once("saved-model", self._make_saved_model).path

    def _make_saved_model(self) -> SavedModel:
        made, time = self._stages.run(
            "",
            "saved model",
            "edgekit.export._saved_model:make",
            lambda folder: SavedModelSpec(
                source=self._request.source, keras_file=self._request.traced.tensorflow, work=str(folder)
            ),
            SavedModel,
            name="saved-model",
        )
        self._times.append(time)
        return made

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

    def _changed(self) -> str:
        """The candidate's program, where steps changed what the float model computes; else ""."""
        program = self._candidate.program if self._candidate is not None else ""
        return program if program != self._request.traced.program else ""

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
                program=self._changed() if artifact.precision == "float32" else "",
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
