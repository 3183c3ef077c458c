"""What each target still has to go through, and how long that may take: after tracing, the path of its next recipe is known.

A path is a row of stages, each with the seconds that it took when it was last run, or that its kind usually takes. What all
targets share is in each one's path, and is done for all at once.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.engine.catalogue import Stage
from edgekit.engine.stage_times import StageTimes


@dataclass(frozen=True)
class Ahead:
    """A stage that is still to be run.

    Attributes:
        stage: What it is.
        owner: Whose result it is; empty is work that all targets share.
        label: What events call it.
    """

    stage: Stage  # type: ignore[type-arg]  # of any spec and result
    owner: str
    label: str


class Expected:
    """The paths of a run's targets. Thread-safe.

    Args:
        jobs: How many stages run at once.
        times: What stages took in earlier runs.
        model: What the model is known by there.
    """

    def __init__(self, jobs: int, times: StageTimes, model: str = "") -> None:
        self._jobs, self._times, self._model = jobs, times, model
        self._lock = threading.Lock()
        self._paths: dict[str, list[Ahead]] = {}

    def path(self, target: str, stages: Sequence[Ahead]) -> None:
        """Says what a target will go through next; nothing, where it has arrived."""
        with self._lock:
            self._paths[target] = [*stages]

    def ended(self, owner: str, label: str, wall_s: float | None) -> None:
        """Takes a stage off the paths, and all before it.

        Args:
            owner: Whose it was.
            label: What it was called.
            wall_s: What it took, to be kept; None where it was reused.
        """
        if wall_s is not None:
            self._times.note(self._model, owner, label, wall_s)
        with self._lock:
            for target, path in self._paths.items():
                same = [
                    number
                    for number, ahead in enumerate(path)
                    if (ahead.owner, ahead.label) == (owner, label)
                ]
                if same and owner in ("", target):
                    del path[: same[0] + 1]

    def left_s(self, target: str) -> float:
        """Returns the seconds of a target's path: how urgent its next stage is."""
        with self._lock:
            return sum(self._seconds(ahead) for ahead in self._paths.get(target, ()))

    def whole_left_s(self) -> float | None:
        """Returns the seconds until all have arrived; None where this model's stages were not all run before."""
        with self._lock:
            ahead = {(each.owner, each.label): each for path in self._paths.values() for each in path}
            if not all(self._times.of(self._model, *name) is not None for name in ahead):
                return None
            spent: Mapping[bool, float] = {
                alone: sum(self._seconds(each) for each in ahead.values() if each.stage.alone is alone)
                for alone in (True, False)
            }
            longest = max((sum(map(self._seconds, path)) for path in self._paths.values()), default=0.0)
        return max(longest, spent[False] / self._jobs + spent[True])

    def _seconds(self, ahead: Ahead) -> float:
        name = ahead.owner, ahead.label
        for found in (self._times.of(self._model, *name), self._times.of_any(*name)):
            if found is not None:
                return found
        return ahead.stage.usual_s
