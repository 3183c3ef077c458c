"""What a recipe makes of the traced model: candidates, step by step, and the files that exporters write from them."""

from functools import partial
from pathlib import Path
from platform import machine

import msgspec

from edgekit import technique
from edgekit.engine.catalogue import COMPRESS, EXPORT, LAYER_TIMES, SAVED_MODEL
from edgekit.engine.machine import machine_facts
from edgekit.engine.measure_specs import LayerTimesSpec
from edgekit.engine.specs import CompressSpec, Context, ExportSpec, SavedModel, SavedModelSpec
from edgekit.engine.stage_folder import UNNAMED, key
from edgekit.ladder.context import RecipeContext
from edgekit.ladder.path import export_label
from edgekit.ladder.timed_pruning import LatencyPruning
from edgekit.records import (
    Artifact,
    Budget,
    Candidate,
    FreeAxes,
    LayerTimes,
    Recipe,
    Step,
    Traced,
    WidthTable,
)
from edgekit.target import Target, without_ladder

FLOAT = Recipe(name="float32", precision="float32", steps=())


def free_axes(traced: Traced, target: Target) -> FreeAxes | None:
    """Returns the axes that a file for a target leaves free: those that the task names, or the samples of a server."""
    free = traced.free
    asked = free is not None and not all(axis.default for axis in free.axes)
    return free if asked or target.free_batch else None


class ArtifactBuilder:
    """Makes the candidates and files of one recipe.

    Args:
        context: Where the recipe is worked on.
        integers: An earlier file that is integers throughout, to time its layers.

    Attributes:
        float_program: The float program that the integers, if any, are made of.
    """

    def __init__(self, context: RecipeContext, integers: Artifact | None) -> None:
        self._context, self._integers = context, integers
        self.float_program = context.request.traced.program

    def candidate(self) -> Candidate:
        """Returns the candidate after every step of the recipe, in the order written.

        Raises:
            EdgekitError: Whatever the steps raise.
        """
        traced = self._context.request.traced
        candidate = Candidate(
            program=traced.program, recipe=FLOAT, interface=traced.interface, onnx=traced.onnx
        )
        for step in self._context.recipe.steps:
            row = technique.of(step)
            if row.at_export:
                continue
            if row.shared and candidate.recipe == FLOAT:
                candidate = self._shared_step(candidate, step)
            else:
                candidate = self._own_step(self._of_target(candidate), step)
            if row.gives == "float program":
                self.float_program = candidate.program
        return self._of_target(candidate)

    def _of_target(self, candidate: Candidate) -> Candidate:
        """Ties the candidate to one target: its recipe, its arithmetic, what its converter starts from."""
        context = self._context
        if candidate.recipe == context.recipe:
            return candidate
        quant = context.target.quant_for(context.plan.isa) if context.recipe.precision == "int8" else None
        return msgspec.structs.replace(
            candidate, recipe=context.recipe, quant=quant, saved_model=self._saved_model()
        )

    def artifact(self, candidate: Candidate) -> Artifact:
        """Exports the candidate; returns the float file where nothing was done to the model."""
        untouched = candidate.program == self._context.request.traced.program
        if untouched and self._context.recipe.precision == "float32":
            return self.float_artifact()
        return self._export(candidate)

    def float_artifact(self) -> Artifact:
        """Returns the float32 file of this format by the same converter, shared by all targets that use it."""
        context, saved_model = self._context, self._saved_model()
        traced = context.request.traced
        candidate = Candidate(
            program=traced.program,
            recipe=FLOAT,
            saved_model=saved_model,
            interface=traced.interface,
            onnx=traced.onnx,
        )
        free = bool(free_axes(traced, context.target))
        shared = (
            f"float-{context.target.format}-{context.target.deployment.min_ios}-{bool(saved_model)}-{free}"
        )
        return context.stages.once(shared, lambda: self._export(candidate, shared=True))

    def _shared_step(self, candidate: Candidate, step: Step) -> Candidate:
        """Does a step that knows of no target: once for all that ask for the same."""
        if technique.times_widths(step):
            return LatencyPruning(self._context, candidate, step).run(
                partial(self._shared_stage, candidate, step)
            )
        return self._shared_stage(candidate, step, None)

    def _shared_stage(self, candidate: Candidate, step: Step, table: WidthTable | None) -> Candidate:
        context, spec = self._context, partial(self._shared_spec, candidate, step, table)
        run = partial(context.run, COMPRESS, spec, label=step.technique, name=step.technique, shared=True)
        return context.stages.once(key(COMPRESS.function, spec(UNNAMED)), run)

    def _shared_spec(
        self, candidate: Candidate, step: Step, table: WidthTable | None, folder: Path
    ) -> CompressSpec:
        run, target, request = self._context.plan, self._context.target, self._context.request
        asked = Context(work=str(folder), traced=request.traced, seed=request.seed)
        if table is not None:
            asked = msgspec.structs.replace(
                asked, target=target, budget=run.budget, isa=run.isa, widths=table
            )
        return CompressSpec(candidate=candidate, step=step, source=request.source, context=asked)

    def _own_step(self, candidate: Candidate, step: Step) -> Candidate:
        times = self._layer_times() if technique.of(step).layer_times else None
        spec = partial(self._own_spec, candidate, step, times)
        return self._context.run(COMPRESS, spec, label=self._context.recipe.name, name=step.technique)

    def _own_spec(
        self, candidate: Candidate, step: Step, times: LayerTimes | None, folder: Path
    ) -> CompressSpec:
        run, request = self._context.plan, self._context.request
        asked = Context(
            work=str(folder),
            target=without_ladder(self._context.target),
            traced=request.traced,
            budget=run.budget if technique.of(step).scores else Budget(),
            isa=run.isa,
            seed=request.seed,
            times=times,
            observed="" if folder == UNNAMED else str(self._context.stages.observed),
        )
        return CompressSpec(candidate=candidate, step=step, source=request.source, context=asked)

    def _layer_times(self) -> LayerTimes | None:
        """Times an earlier integer file against the float one, where this machine is one of the target's."""
        context, artifact = self._context, self._integers
        if artifact is None or not context.target.admits(machine(), context.request.host_isa):
            return None
        spec = LayerTimesSpec(
            artifact=artifact,
            baseline=self.float_artifact(),
            runtime=context.target.runtime,
            machine=machine_facts(),
        )
        return context.run(LAYER_TIMES, lambda _folder: spec, label="time layers")

    def _saved_model(self) -> str:
        """Returns what TensorFlow's converter starts from; empty for recipes that go another way."""
        context, traced = self._context, self._context.request.traced
        by_tensorflow = any(technique.of(step).by_tensorflow for step in context.recipe.steps)
        if traced.program and not by_tensorflow:
            return ""
        if not traced.tensorflow.endswith(".keras"):
            return traced.tensorflow
        return context.stages.once("saved-model", self._make_saved_model).path

    def _make_saved_model(self) -> SavedModel:
        request = self._context.request

        def spec(folder: Path) -> SavedModelSpec:
            return SavedModelSpec(
                source=request.source, keras_file=request.traced.tensorflow, work=str(folder)
            )

        return self._context.run(SAVED_MODEL, spec, label="saved model", shared=True)

    def _export(self, candidate: Candidate, shared: bool = False) -> Artifact:
        target = without_ladder(self._context.target)

        def spec(folder: Path) -> ExportSpec:
            lowered = msgspec.structs.replace(candidate, free=free_axes(self._context.request.traced, target))
            return ExportSpec(candidate=lowered, target=target, folder=str(folder))

        label = export_label(candidate.recipe.precision, target)
        return self._context.run(EXPORT, spec, label=label, name=f"export-{target.format}", shared=shared)
