"""Where stages of a recipe run: for which target, in which run."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgekit.engine.catalogue import Stage
from edgekit.engine.stage_folder import key
from edgekit.engine.stages import Stages
from edgekit.engine.task_source import TaskSource
from edgekit.records import DeviceFacts, Plan, Recipe, Record, StageTime, Traced
from edgekit.target import Target

S = TypeVar("S", bound=Record)
R = TypeVar("R", bound=Record)


class RunRequest(Record):
    """What stays the same for every rung of a run.

    Attributes:
        source: How a child process gets the task.
        traced: The float model and its answers.
        host_isa: The instruction-set level of this machine.
        seed: The seed of everything random.
        explore: Whether every recipe is tried.
        devices: Those that the user named.
        records: A folder of records that were measured elsewhere, "" for none.
        arm: Whether files for ARM machines are run on emulated ones.
    """

    source: TaskSource
    traced: Traced
    host_isa: str
    seed: int
    explore: bool = False
    devices: tuple[DeviceFacts, ...] = ()
    records: str = ""
    arm: bool = False


class RecipeContext:
    """Where one recipe is worked on: for which target, in which run, and what its stages took.

    Attributes:
        times: What each stage took, in order.
    """

    def __init__(
        self, target: Target, ladder: Plan, recipe: Recipe, request: RunRequest, stages: Stages
    ) -> None:
        self.target, self.plan, self.recipe = target, ladder, recipe
        self.request, self.stages = request, stages
        self.times: list[StageTime] = []

    def of(self, recipe: Recipe) -> "RecipeContext":
        """Returns the place of another recipe, whose stages are told as this one's."""
        other = RecipeContext(self.target, self.plan, recipe, self.request, self.stages)
        other.times = self.times
        return other

    def run(
        self,
        stage: Stage[S, R],
        spec: Callable[[Path], S],
        *,
        label: str = "",
        name: str = "",
        shared: bool = False,
    ) -> R:
        """Runs a stage as `Stages.run` does, for the target.

        Args:
            stage: What to run.
            spec: Makes the spec for the folder of the stage.
            label: What events call it; empty is the stage's name.
            name: What the folder is called, before the key; empty is the stage's name.
            shared: Whether its result belongs to no single target.
        """
        owner = "" if shared else self.target.name
        result, time = self.stages.run(
            stage, spec, target=owner, label=label, name=name, asker=self.target.name
        )
        self.times.append(time)
        return result

    def run_once(self, stage: Stage[S, R], spec: Callable[[Path], S], content: S) -> R:
        """Runs a stage as `run` does, or returns what one of this run gave that worked on the same content.

        Args:
            stage: What to run.
            spec: Makes the spec for the folder of the stage.
            content: The spec, with files named by what they hold.
        """
        ran: list[bool] = []

        def make() -> R:
            ran.append(True)
            return self.run(stage, spec)

        result = self.stages.once(key(stage.function, content), make)
        if not ran:
            self.note(f"{stage.name}: the bytes are those of an earlier file, what was found of it holds")
        return result

    def note(self, message: str) -> None:
        """Notes something about the target."""
        self.stages.note(self.target.name, message)
