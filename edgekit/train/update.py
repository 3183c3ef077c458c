"""One update of the weights: losses and gradients of some batches, each a global mean, clipped, then the optimizer's step."""

import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import nn

from edgekit.train import data, distributed
from edgekit.train.data import Batch
from edgekit.train.schedule import Objective
from edgekit.train.settings import Options


class NotFinite(Exception):
    """A loss or a gradient that is no number; its text says which."""


class Update:
    """What an update is made with. plain: the module whose weights move; model: the same as accelerate wrapped it."""

    def __init__(
        self,
        plain: nn.Module,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        options: Options,
        accelerator: Accelerator,
    ) -> None:
        self._plain, self._model, self._optimizer, self._objective = plain, model, optimizer, objective
        self._options, self._accelerator = options, accelerator

    def __call__(self, batches: Sequence[Batch], rate: float, number: int) -> float:
        """The mean loss of `batches`, of which the first is the `number`-th of this training. Raises NotFinite."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        losses = [self._backward(batch, number + place) for place, batch in enumerate(batches)]
        return sum(losses) / len(losses)

    def _backward(self, batch: Batch, number: int) -> float:
        """One batch, and after the last of an update the step; the mean loss over all processes."""
        place = self._accelerator
        data.seed_step(self._options.seed, number, place.process_index)
        batch = batch.to(place.device)
        with place.accumulate(self._model):
            with place.autocast():
                loss = self._objective(self._model, batch.inputs, batch.labels)
            value = distributed.mean(float(loss.detach()) * batch.share, place)
            if not math.isfinite(value):
                raise NotFinite(f"the loss became {value}")
            place.backward(loss * batch.share)
            if place.sync_gradients:
                self._clip()
            self._optimizer.step()
            self._optimizer.zero_grad()
        return value

    def _clip(self) -> None:
        limit = self._options.largest_norm or math.inf
        norm = self._accelerator.clip_grad_norm_(self._plain.parameters(), limit)
        scaled = self._accelerator.scaler is not None  # which skips such a step and lowers its scale
        if norm is not None and not scaled:
            size = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
            if not math.isfinite(size):
                raise NotFinite(f"the gradient's norm became {size}")
