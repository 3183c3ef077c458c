"""What a training has seen: the loss of every update, the checks, the best weights, and when to stop."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from edgekit.records import Record, convert
from edgekit.train.checkpoint import State


class Check(Record):
    """What one check found.

    Attributes:
        step: The number of the step.
        images: Samples trained on so far.
        loss: The mean since the check before.
        learning_rate: The current rate.
        metric: What `validate` returned.
    """

    step: int
    images: int
    loss: float
    learning_rate: float
    metric: float | None = None


class Trained(Record):
    """What a training did.

    Attributes:
        steps: Updates made.
        images: Samples trained on.
        epochs: Epochs begun.
        learning_rate: The peak.
        checks: All checks.
        losses: The loss of every update.
        probe: The loss after each rate tried.
        best: The check whose weights were kept; None if those of the last step were.
        stopped_early: Whether it stopped for lack of progress.
        resumed_at: The step it continued from.
        processes: How many there were.
        seconds: How long it took.
    """

    steps: int
    images: int
    epochs: int
    learning_rate: float
    checks: tuple[Check, ...]
    losses: tuple[float, ...]
    probe: dict[str, float] = {}
    best: Check | None = None
    stopped_early: bool = False
    resumed_at: int = 0
    processes: int = 1
    seconds: float = 0.0


class History:
    """Grows check by check.

    Args:
        patience: Checks without a gain after which it stops; 0 = never.

    Attributes:
        best: The best check so far.
        best_state: Its weights; before the first check, the initial weights.
    """

    #: what a checkpoint stores unchanged
    _KEPT = ("stale", "stopped_early", "losses")

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self.losses, self.checks = list[float](), list[Check]()
        self.best: Check | None = None
        self.best_state: State | None = None
        self.stale, self.stopped_early = 0, False

    def loss_since_check(self) -> float:
        """Returns the mean over the updates since the last check."""
        losses = self.losses[self.checks[-1].step if self.checks else 0 :]
        return sum(losses) / max(1, len(losses))

    def add(self, check: Check, done: bool, state: Callable[[], State]) -> None:
        """Adds a check and keeps the best one, by `validate` if there is one, else by the loss.

        The best is kept in case of divergence even if the last weights are the result.

        Args:
            check: The check.
            done: Whether it is the last one.
            state: Called for the weights, if they are the best so far.
        """
        self.checks.append(check)
        if self.best is None or _worth(check) > _worth(self.best):
            self.best, self.best_state, self.stale = check, state(), 0
        else:
            self.stale += 1
        self.stopped_early = 0 < self._patience <= self.stale and not done

    def line(self, progress: float) -> str:
        """Returns what the log says about the last check."""
        found = self.checks[-1]
        metric = f", metric {found.metric:.4f}" if found.metric is not None else ""
        early = f"; no gain in {self.stale} checks, it stops" if self.stopped_early else ""
        return (
            f"{100 * progress:.0f} %, step {found.step}, {found.images} images, "
            f"loss {found.loss:.4f}{metric}, rate {found.learning_rate:.2g}{early}"
        )

    def kept(self) -> dict[str, Any]:
        """Returns what a checkpoint stores; the best weights are in a file of their own."""
        return {
            **{name: getattr(self, name) for name in self._KEPT},
            "checks": msgspec.to_builtins(self.checks),
            "best": msgspec.to_builtins(self.best),
        }

    def restore(self, kept: Mapping[str, Any], best_state: State | None) -> None:
        """Restores what `kept` returned."""
        for name in self._KEPT:
            setattr(self, name, kept[name])
        self.checks = [convert(row, Check) for row in kept["checks"]]
        self.best = None if kept["best"] is None else convert(kept["best"], Check)
        self.best_state = best_state


def _worth(check: Check) -> float:
    return check.metric if check.metric is not None else -check.loss
