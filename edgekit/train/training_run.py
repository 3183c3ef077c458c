"""The state of one training, from its first look at the data to the weights that are the result."""

import logging
import math
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import torch
from accelerate import Accelerator
from torch import nn

from edgekit.errors import Diverged
from edgekit.task import Training
from edgekit.train import checkpoint, data, distributed, first_batch, schedule, zero
from edgekit.train.data import Batch
from edgekit.train.history import Check, History, Trained
from edgekit.train.objective import InPrecision, TaskLoss
from edgekit.train.settings import Options
from edgekit.train.update import NotFinite, Update
from edgekit.train.wrapped import Wrapped

log = logging.getLogger("edgekit")

#: called at the start of each update with the share of the budget used up, 0 to 1; must depend on nothing else
OnStep = Callable[[float], None]
#: scores the module, in eval mode and with the weights that would be the result; higher is better
Validate = Callable[[nn.Module], float]
#: what a checkpoint stores of a run unchanged
KEPT = ("steps", "images", "micro", "tried")


class Run:
    """The state of one training."""

    def __init__(
        self,
        model: nn.Module,
        training: Training,
        options: Options,
        objective: schedule.Objective | None,
        validate: Validate | None,
        on_step: OnStep | None,
        folder: Path | None,
        belongs: Mapping[str, Any],
        accelerator: Accelerator,
    ) -> None:
        self.options, self.training, self.folder, self.accelerator = options, training, folder, accelerator
        given = objective or TaskLoss(training.loss)
        self.teachers = getattr(given, "teachers", ())
        self.objective = InPrecision(given, accelerator)
        self.validate, self.on_step, self.belongs = validate, on_step, belongs
        self.plain = model
        self.steps = self.images = self.micro = self.resumed_at = 0
        self.peak, self.tried = schedule.given_peak(options), dict[str, float]()
        self.history = History(options.patience)
        self.stream = self._stream(0, 0)

    @property
    def keeps_best(self) -> bool:
        """Whether the best weights are the result, and not the last ones."""
        return self.validate is not None or self.options.patience > 0

    @property
    def progress(self) -> float:
        """The share of the budget that is used up."""
        return self.options.progress(self.images, self.steps)

    # -- before the first step

    def prepare(self) -> None:
        """Checks the data, finds the rate, wraps the model, and resumes at a checkpoint if there is one."""
        distributed.spread_teachers(self.teachers, self.accelerator, self.options)
        place = checkpoint.latest(self.folder)
        progress = checkpoint.read_progress(place, self.plain, self._belongs()) if place else None
        if progress:
            self.peak = progress["peak"]
        else:
            self._look()
        self._set_up()
        if place is not None and progress is not None:
            self._resume(place, progress)
        else:
            self.history.best_state = checkpoint.state_of(self.plain)

    def _look(self) -> None:
        """Checks the data against the model, and finds the rate, before anything is wrapped or sharded."""
        (batch,) = data.first(self.training, self.options.seed, 1)
        device = self.accelerator.device
        self.plain.to(device)
        first_batch.check(self.plain, self.training, batch.to(device))
        if self.peak:
            return
        count = schedule.updates_of_probe(self.options, batch.rows) + schedule.JUDGES
        batches = [b.to(device) for b in data.first(self.training, self.options.seed, count)]
        found = schedule.probe(self.plain, self.objective, batches, self.options)
        self.tried = {f"{rate:g}": loss for rate, loss in found.items() if math.isfinite(loss)}
        self.peak = distributed.mean(schedule.highest(found), self.accelerator)

    def _set_up(self) -> None:
        self.held = Wrapped(self.plain, self.options, self.peak, self.accelerator)
        self.update = Update(
            self.plain, self.held.model, self.held.optimizer, self.objective, self.options, self.accelerator
        )

    def _resume(self, place: Path, progress: dict[str, Any]) -> None:
        self.held.restore(place, progress)
        for name in KEPT:
            setattr(self, name, progress[name])
        self.history.restore(progress, checkpoint.read(place, checkpoint.BEST))
        self.resumed_at = self.steps
        self.stream = self._stream(progress["epoch"], progress["index"])
        log.info("training: resumes at step %d of %s", self.steps, place)

    def _stream(self, epoch: int, index: int) -> data.Stream:
        place = self.accelerator
        return data.Stream(
            self.training.batches, self.options.seed, place.process_index, place.num_processes, epoch, index
        )

    def _belongs(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be resumed."""
        ignored = {"strategy", "offload", "device"}
        options = {k: v for k, v in msgspec.to_builtins(self.options).items() if k not in ignored}
        return {**options, "optimizer parts": self._parts(), **self.belongs}

    def _parts(self) -> str:
        """How the optimizer's state is taken apart in a checkpoint: "whole" fits any strategy and number of processes."""
        name = self.options.strategy
        return f"{self.accelerator.num_processes} of {name}" if name in zero.STRATEGIES else "whole"

    # -- the loop

    def train(self) -> None:
        """Makes updates and checks until the budget is used up, or a check ends it."""
        batches = iter(self.stream)
        self.held.model.train()
        while self.progress < 1 and not self.history.stopped_early:
            before = self.progress
            self._step(list(islice(batches, self.options.accumulate)))
            if (
                int(self.progress * self.options.checks) > int(before * self.options.checks)
                or self.progress >= 1
            ):
                self._check()

    def _step(self, batches: list[Batch]) -> None:
        if self.on_step is not None:
            self.on_step(self.progress)
        rate = schedule.rate(self.options, self.peak, self.progress)
        try:
            self.history.losses.append(self.update(batches, rate, self.micro))
        except NotFinite as error:
            raise self._diverged(str(error), rate) from None
        self.micro += len(batches)
        self.steps += 1
        self.images += sum(batch.rows for batch in batches)
        if self.held.average is not None:
            self.held.average.update(self.plain)

    def _diverged(self, what: str, rate: float) -> Diverged:
        """Returns the error to raise, once the best weights so far are back in the model and on disk."""
        best, state, place = self.history.best, self.history.best_state, ""
        kept = f"step {best.step}" if best is not None else "the start"
        if state is not None:
            checkpoint.put(self.plain, state)
            if self.folder is not None and self.accelerator.is_main_process:
                checkpoint.save(state, self.folder / checkpoint.BEST)
                place = f" in {self.folder / checkpoint.BEST}"
        return Diverged(
            f"the training diverged: {what} after {self.steps} steps at learning rate {rate:.3g}. "
            f"The weights of {kept} are kept{place}. Give a lower learning_rate or a smaller clip_norm"
        )

    # -- now and then

    def _check(self) -> None:
        found = Check(
            step=self.steps,
            images=self.images,
            loss=self.history.loss_since_check(),
            learning_rate=self.held.optimizer.param_groups[0]["lr"],
            metric=self._metric(),
        )
        self.history.add(found, self.progress >= 1, self.held.averaged_state)
        log.info("training: %s", self.history.line(self.progress))
        self._write()

    def _metric(self) -> float | None:
        if self.validate is None:
            return None
        self.plain.eval()
        with self.held.averaged(), torch.no_grad():
            value = distributed.mean(float(self.validate(self.plain)), self.accelerator)
        self.plain.train()
        return value

    def _write(self) -> None:
        if self.folder is None:
            return
        parts = self.held.parts()  # every process takes part in gathering them
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        progress = {
            **{name: getattr(self, name) for name in KEPT},
            **self.history.kept(),
            "peak": self.peak,
            "epoch": self.stream.epoch,
            "index": self.stream.index,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "belongs": self._belongs(),
            "tensors": checkpoint.signature(parts[0]),
        }
        checkpoint.write(self.folder, self.steps, progress, *parts, self.history.best_state)

    # -- at the end

    def finish(self) -> None:
        """Puts the resulting weights into the model, and takes off what accelerate wrapped it in."""
        if self.keeps_best and self.history.best_state is not None:
            checkpoint.put(self.plain, self.history.best_state)
        elif self.held.average is not None:
            self.held.average.exchange(self.plain)
        self.held.unwrap()

    def result(self, seconds: float) -> Trained:
        """Returns what happened, as a record."""
        return Trained(
            steps=self.steps,
            images=self.images,
            epochs=self.stream.epoch + 1,
            learning_rate=self.peak,
            checks=tuple(self.history.checks),
            losses=tuple(self.history.losses),
            probe=self.tried,
            best=self.history.best if self.keeps_best else None,
            stopped_early=self.history.stopped_early,
            resumed_at=self.resumed_at,
            processes=self.accelerator.num_processes,
            seconds=seconds,
        )
