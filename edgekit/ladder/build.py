"""What a recipe makes of the traced model: candidates, step by step, and the files that exporters write of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from platform import machine

import msgspec

from edgekit.engine.machine import machine_facts
from edgekit.engine.specs import CompressSpec, Context, ExportSpec, LayerTimesSpec, SavedModel, SavedModelSpec
from edgekit.engine.stages import key
from edgekit.ladder.context import RecipeContext
from edgekit.ladder.timed_pruning import LatencyPruning
from edgekit.records import (
    Artifact,
    Candidate,
    LayerTimes,
    Recipe,
    Record,
    Step,
    WidthTable,
)
from edgekit.techniques import AT_EXPORT, BY_TENSORFLOW, NEEDS_TIMES, NEEDS_WIDTHS, ON_FLOAT

COMPRESS = "edgekit.techniques._stage:compress"
FLOAT = Recipe(name="float32", precision="float32", steps=())


def needs_widths(step: Step) -> bool:
    """Whether it chooses widths for time, from what they cost on the target."""
    return step.options.get("scope", "") == NEEDS_WIDTHS.get(step.technique)


class ArtifactBuilder:
    """Candidates and files of one recipe. float_program: what its integers, if any, are made of.

    integers: an earlier file that is integers throughout, to time its layers.
    """

    def __init__(self, context: RecipeContext, integers: Artifact | None) -> None:
        self._context, self._integers = context, integers
        self.float_program = context.request.traced.program

    def candidate(self) -> Candidate:
        """After every step of the recipe. Raises what the steps raise."""
        context = self._context
        quant = context.target.quant_for(context.plan.isa) if context.recipe.precision == "int8" else None
        candidate = msgspec.structs.replace(
            self._on_float(), recipe=context.recipe, quant=quant, saved_model=self._saved_model()
        )
        self.float_program = candidate.program
        for step in context.recipe.steps:
            if step.technique not in AT_EXPORT | ON_FLOAT:
                spec = self._compress_spec(candidate, step)
                candidate = context.run(context.recipe.name, COMPRESS, spec, Candidate, name=step.technique)
        return candidate

    def artifact(self, candidate: Candidate) -> Artifact:
        """The file; the float one where nothing was done to the model."""
        untouched = candidate.program == self._context.request.traced.program
        if untouched and self._context.recipe.precision == "float32":
            return self.float_artifact()
        return self._export(candidate)

    def float_artifact(self) -> Artifact:
        """The float32 file of this format by the same converter, shared by all targets that use it."""
        context, saved_model = self._context, self._saved_model()
        candidate = Candidate(program=context.request.traced.program, recipe=FLOAT, saved_model=saved_model)
        shared = f"float-{context.target.format}-{context.target.deployment.min_ios}-{bool(saved_model)}"
        return context.stages.once(shared, lambda: self._export(candidate, ""))

    def _on_float(self) -> Candidate:
        """After the steps that know of no target: done once for all that ask for the same."""
        context = self._context
        candidate = Candidate(program=context.request.traced.program, recipe=FLOAT)
        for step in context.recipe.steps:
            if step.technique in ON_FLOAT:
                candidate = self._float_step(candidate, step)
        return candidate

    def _float_step(self, candidate: Candidate, step: Step) -> Candidate:
        """One of them."""
        if needs_widths(step):
            return LatencyPruning(self._context, candidate, step).run(
                partial(self._float_stage, candidate, step)
            )
        return self._float_stage(candidate, step, None)

    def _float_stage(self, candidate: Candidate, step: Step, table: WidthTable | None) -> Candidate:
        context, spec = self._context, self._float_spec(candidate, step, table)
        run = partial(context.run, step.technique, COMPRESS, spec, Candidate, name=step.technique, owner="")
        return context.stages.once(key(COMPRESS, spec), run)

    def _float_spec(
        self, candidate: Candidate, step: Step, table: WidthTable | None
    ) -> Callable[[Path], Record]:
        recipe_context, request = self._context, self._context.request

        def spec(folder: Path) -> Record:
            context = Context(work=str(folder), traced=request.traced, seed=request.seed)
            if table is not None:
                context = msgspec.structs.replace(
                    context,
                    target=recipe_context.target,
                    budget=recipe_context.plan.budget,
                    isa=recipe_context.plan.isa,
                    widths=table,
                )
            return CompressSpec(candidate=candidate, step=step, source=request.source, context=context)

        return spec

    def _compress_spec(self, candidate: Candidate, step: Step) -> Callable[[Path], Record]:
        recipe_context, request = self._context, self._context.request
        times = self._layer_times() if step.technique in NEEDS_TIMES else None

        def spec(folder: Path) -> Record:
            context = Context(
                work=str(folder),
                target=recipe_context.target,
                traced=request.traced,
                budget=recipe_context.plan.budget,
                isa=recipe_context.plan.isa,
                seed=request.seed,
                times=times,
            )
            return CompressSpec(candidate=candidate, step=step, source=request.source, context=context)

        return spec

    def _layer_times(self) -> LayerTimes | None:
        """Of an earlier integer file against the float one, where this machine is one of the target's."""
        context, artifact = self._context, self._integers
        if artifact is None or not context.target.admits(machine(), context.request.host_isa):
            return None
        spec = LayerTimesSpec(
            artifact=artifact,
            baseline=self.float_artifact(),
            runtime=context.target.runtime,
            machine=machine_facts(),
        )
        function = "edgekit.measure.stage.layer_times:layer_times"
        return context.run(
            "time layers", function, lambda _folder: spec, LayerTimes, name="layer-times", alone=True
        )

    def _saved_model(self) -> str:
        """What TensorFlow's converter starts from; empty for recipes that go another way."""
        context, traced = self._context, self._context.request.traced
        if traced.program and not any(step.technique in BY_TENSORFLOW for step in context.recipe.steps):
            return ""
        if not traced.tensorflow.endswith(".keras"):
            return traced.tensorflow
        return context.stages.once("saved-model", self._make_saved_model).path

    def _make_saved_model(self) -> SavedModel:
        request = self._context.request

        def spec(folder: Path) -> Record:
            return SavedModelSpec(
                source=request.source, keras_file=request.traced.tensorflow, work=str(folder)
            )

        function = "edgekit.export._saved_model:make"
        return self._context.run("saved model", function, spec, SavedModel, name="saved-model", owner="")

    def _export(self, candidate: Candidate, owner: str | None = None) -> Artifact:
        target = self._context.target

        def spec(folder: Path) -> Record:
            return ExportSpec(candidate=candidate, target=target, folder=str(folder))

        stage = f"export {candidate.recipe.precision} {target.format}"
        function = "edgekit.export._stage:export"
        return self._context.run(stage, function, spec, Artifact, name=f"export-{target.format}", owner=owner)
