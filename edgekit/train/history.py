"""What a training has seen: the loss of every update, the checks, the best of them with its weights, and whether to stop early."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from edgekit.records import Record
from edgekit.train.checkpoint import State


class Check(Record):
    """loss: the mean since the check before. metric: what `validate` said."""

    step: int
    images: int
    loss: float
    learning_rate: float
    metric: float | None = None


class Trained(Record):
    """What a training did. epochs: begun. learning_rate: the peak. probe: the loss after each rate tried. losses: of every update.

    best: the check whose weights were kept; None where the last ones were. resumed_at: the step it went on from.
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
    """Grows check by check. patience: checks without a gain after which it stops, 0 = never.

    best, best_state: the best check so far and its weights; before the first one the weights of the start.
    """

    #: what a checkpoint keeps as it is
    _KEPT = ("stale", "stopped_early", "losses")

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self.losses, self.checks = list[float](), list[Check]()
        self.best: Check | None = None
        self.best_state: State | None = None
        self.stale, self.stopped_early = 0, False

    def loss_since_check(self) -> float:
        """The mean over the updates after the last check."""
        losses = self.losses[self.checks[-1].step if self.checks else 0 :]
        return sum(losses) / max(1, len(losses))

    def add(self, check: Check, done: bool, state: Callable[[], State]) -> None:
        """The best is by `validate`, else by the loss; kept for a divergence even where the last weights are the result."""
        self.checks.append(check)
        if self.best is None or _worth(check) > _worth(self.best):
            self.best, self.best_state, self.stale = check, state(), 0
        else:
            self.stale += 1
        self.stopped_early = 0 < self._patience <= self.stale and not done

    def line(self, progress: float) -> str:
        """What the log says of the last check."""
        found = self.checks[-1]
        metric = f", metric {found.metric:.4f}" if found.metric is not None else ""
        early = f"; no gain in {self.stale} checks, it stops" if self.stopped_early else ""
        return (
            f"{100 * progress:.0f} %, step {found.step}, {found.images} images, "
            f"loss {found.loss:.4f}{metric}, rate {found.learning_rate:.2g}{early}"
        )

    def kept(self) -> dict[str, Any]:
        """For a checkpoint; the best weights are a file of their own."""
        return {
            **{name: getattr(self, name) for name in self._KEPT},
            "checks": msgspec.to_builtins(self.checks),
            "best": msgspec.to_builtins(self.best),
        }

    def restore(self, kept: Mapping[str, Any], best_state: State | None) -> None:
        """The opposite of `kept`."""
        for name in self._KEPT:
            setattr(self, name, kept[name])
        self.checks = [msgspec.convert(row, Check) for row in kept["checks"]]
        self.best = msgspec.convert(kept["best"], Check | None)
        self.best_state = best_state


def _worth(check: Check) -> float:
    return check.metric if check.metric is not None else -check.loss
