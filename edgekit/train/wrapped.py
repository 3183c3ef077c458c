"""The module as the hardware holds it: replicated or sharded, with its optimizer and the running average of its weights."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from edgekit.train import checkpoint, distributed, schedule, zero
from edgekit.train.settings import Options
from edgekit.train.weight_average import Average


class Wrapped:
    """What accelerate made of a module.

    Args:
        plain: The module; it is trained in place.
        options: How the training is run.
        peak: The highest learning rate.
        accelerator: The hardware.
    """

    def __init__(self, plain: nn.Module, options: Options, peak: float, accelerator: Accelerator) -> None:
        self._plain, self._accelerator = plain, accelerator
        self._zero = options.strategy in zero.STRATEGIES
        distributed.spread(plain, accelerator, options)
        optimizer = schedule.optimizer_of(plain, options, peak)
        if options.strategy == "fsdp":
            self.model = accelerator.prepare_model(plain, evaluation_mode=True)
            self.optimizer = accelerator.prepare_optimizer(optimizer)
        else:
            self.model, self.optimizer = accelerator.prepare(plain, optimizer)
        self.average = Average(plain, options.ema) if options.ema else None

    def averaged(self) -> AbstractContextManager[Any]:
        """Holds the averaged weights in the module for as long as the context lasts."""
        return self.average.applied(self._plain) if self.average is not None else nullcontext()

    def averaged_state(self) -> checkpoint.State:
        """Returns the weights that would be the result."""
        with self.averaged():
            return checkpoint.state_of(self._plain)

    def restore(self, place: Path, progress: dict[str, Any]) -> None:
        """Puts a checkpoint's weights, optimizer, average and loss scale back."""
        checkpoint.put(self._plain, checkpoint.read(place, checkpoint.MODEL) or {})
        put = zero.put if self._zero else checkpoint.put_optimizer
        put(self.optimizer.optimizer, checkpoint.read_optimizer(place))
        average = checkpoint.read(place, checkpoint.AVERAGE)
        if self.average is not None and average is not None:
            self.average.updates = progress["steps"]
            for name, value in average.items():
                distributed.fill(self.average.tensors[name], value)
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(progress["scaler"])

    def parts(self) -> tuple[checkpoint.State, Any, checkpoint.State | None]:
        """Gathers whole tensors for a checkpoint: the weights, the optimizer's, and the average, if there is one."""
        state = checkpoint.state_of(self._plain)
        optimizer = self._optimizer_state()
        if self.average is None:
            return state, optimizer, None
        return state, optimizer, {n: distributed.whole(t) for n, t in self.average.tensors.items()}

    def _optimizer_state(self) -> dict[str, Any]:
        if self._zero:
            return zero.state_of(self.optimizer.optimizer, self._accelerator.num_processes)
        return checkpoint.optimizer_state(self.optimizer.optimizer)

    def unwrap(self) -> None:
        """Takes off what accelerate wrapped the module in, and leaves it in eval mode.

        Its own `unwrap_model` would import DeepSpeed wherever that is installed: 2 s and 200 MB.
        """
        self._accelerator.free_memory()
        for mark in ("_is_accelerate_prepared", "_original_forward", "forward"):
            vars(self._plain).pop(mark, None)
        self._plain.eval()
