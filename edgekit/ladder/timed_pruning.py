"""A cut to widths that were timed: the files are written, timed with the machine alone, the cut is made, and timed itself.

The table predicts (`edgekit.prune.latency`); what was chosen with it comes out a little slower than predicted, since what was
measured too fast by chance is chosen first. Where the pruned network misses the time asked for, it is cut once more, to a
time scaled by what was predicted over what was measured. The artifact at the end of the recipe is measured like every other.
"""

from collections.abc import Callable
from pathlib import Path
from platform import machine

import msgspec

from edgekit.engine.catalogue import PLAN_TIME, WIDTH_FILES, WIDTH_TABLE
from edgekit.engine.machine import machine_facts
from edgekit.engine.measure_specs import WidthFiles, WidthTableSpec
from edgekit.ladder.context import RecipeContext
from edgekit.records import Candidate, Step, WidthTable

LOCAL = "local"
MISSED = 1.02  # of the time asked for: a difference of this size is noise, and the gate lets it pass


class LatencyPruning:
    """Runs one step of a recipe that chooses widths for time.

    Args:
        context: Where the recipe is worked on.
        candidate: What is to be pruned.
        step: The step.
    """

    def __init__(self, context: RecipeContext, candidate: Candidate, step: Step) -> None:
        self._context, self._candidate, self._step = context, candidate, step
        self._device = str(step.options.get("device", LOCAL))

    def run(self, cut: Callable[[WidthTable], Candidate]) -> Candidate:
        """Returns what `cut` makes of the table, run once or twice.

        Without a machine that may measure, the table holds the reason.
        """
        files = self._files()
        if files.reason:
            return cut(WidthTable(conditions={}, rows=(), base_s=0, float_s=0, reason=files.reason))
        spec = self._spec(files)
        table = self._context.run(WIDTH_TABLE, spec, label="time widths")
        made = cut(table)
        share, asked = self._share(files, made), _figure(made, "time asked for")
        if share <= MISSED * asked:
            return made
        technique = self._step.technique
        self._context.note(
            f"{technique}: takes {share:.3f} of the time, {asked:.3f} was asked; widths are chosen again"
        )
        return cut(msgspec.structs.replace(table, correction=share / _figure(made, "predicted time")))

    def _files(self) -> WidthFiles:
        """Returns what is to be timed, here or on the device that the step names."""
        context = self._context
        if self._device == LOCAL and not context.target.admits(machine(), context.request.host_isa):
            here = f"{machine()} {context.request.host_isa}"
            reason = f"this machine, {here}, is not one of {context.target.name}'s; give device"
            return WidthFiles(whole=(), conditions={}, reason=reason)
        return context.run(WIDTH_FILES, self._spec(), label="files of widths")

    def _share(self, files: WidthFiles, made: Candidate) -> float:
        """Returns the time of the pruned network, as a share of the whole one's."""
        spec = self._spec(files, made)
        found = self._context.run(PLAN_TIME, spec, label="time plan")
        return found.pruned_s / found.base_s

    def _spec(
        self, files: WidthFiles | None = None, pruned: Candidate | None = None
    ) -> Callable[[Path], WidthTableSpec]:
        context = self._context

        def spec(folder: Path) -> WidthTableSpec:
            return WidthTableSpec(
                candidate=self._candidate,
                step=self._step,
                source=context.request.source,
                target=context.target,
                isa=context.plan.isa,
                precision=context.recipe.precision,
                device=self._device,
                machine=machine_facts(),
                work=str(folder),
                files=files,
                pruned=pruned,
            )

        return spec


def _figure(made: Candidate, name: str) -> float:
    """Returns the last figure of that name."""
    return [figure.value for figure in made.figures if figure.name == name][-1]
