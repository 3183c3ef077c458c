"""One update of the weights: losses and gradients as global means, clipping, and the optimizer's step."""

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
    """A loss or a gradient became NaN or infinite; the text says which."""


class Update:
    """Makes updates.

    Args:
        plain: The module whose weights change.
        model: The same module as wrapped by accelerate.
        optimizer: The optimizer.
        objective: The loss.
        options: How the training is run.
        accelerator: The place of this process.
    """

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
        """Makes one update.

        Args:
            batches: The batches of the update.
            rate: The learning rate.
            number: The number of the first of them in this training.

        Returns:
            The mean loss of the batches.

        Raises:
            NotFinite: The loss or the gradient is NaN or infinite.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        losses = [self._backward(batch, number + place) for place, batch in enumerate(batches)]
        return sum(losses) / len(losses)

    def _backward(self, batch: Batch, number: int) -> float:
        """Processes one batch, steps after the last one, and returns the mean loss over all processes."""
        place = self._accelerator
        data.seed_step(self._options.seed, number, place.process_index)
        batch = batch.to(place.device)
        with place.accumulate(self._model):
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
