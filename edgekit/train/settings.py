"""How a training is run. Budgets are in images, so that they mean the same for any batch and number of processes."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from edgekit.errors import UserError
from edgekit.records import Record

#: what techniques that train have in common
SHARED = ("images", "learning_rate", "accumulate", "ema")
#: (lowest, highest) allowed
_LIMITS: dict[str, tuple[float, float]] = {
    "images": (1, math.inf), "steps": (0, math.inf), "learning_rate": (0, math.inf), "original_images": (0, math.inf), "weight_decay": (0, math.inf),
    "warmup": (0, 1), "final": (0, 1), "accumulate": (1, math.inf), "clip_norm": (0, math.inf), "ema": (0, 0.999999),
    "patience": (0, math.inf), "checks": (1, math.inf), "seed": (0, 2**32 - 1),
}  # fmt: skip


#: the largest gradient norm, by optimizer: adamw does not mind the size of gradients, sgd starves at 1
CLIP_NORM = {"adamw": 1.0, "sgd": 5.0}


class Options(Record):
    """One training.

    images: samples to train on, counted over all processes. steps: at most so many updates, 0 = as the images allow.
    learning_rate: the peak; 0 lets a short probe find it. schedule: "cosine", "constant", or "rewinding", where learning_rate is
    the peak of the training that made the model and original_images its length (see `edgekit.train.schedule`). warmup: share of the budget in which the rate rises to the
    peak. final: share of the peak where the cosine ends. accumulate: batches in one update. clip_norm: the largest
    gradient norm, 0 = any; None = CLIP_NORM of the optimizer. ema: decay of the averaged weights, which are then the result; 0 = none.
    precision: of the arithmetic; weights stay float32. checks: how often in the budget it validates, keeps the best
    and writes a checkpoint. patience: checks without a gain after which it stops, 0 = never.
    strategy: "ddp" copies the weights to every process, "fsdp" shares them out (FSDP2), "zero2" and "zero3" are
    DeepSpeed's. offload: of the optimizer's state to the CPU, and with zero3 of the weights.
    """

    images: int = 10_000
    steps: int = 0
    learning_rate: float = 0.0
    schedule: Literal["cosine", "constant", "rewinding"] = "cosine"
    original_images: int = 0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.0
    warmup: float = 0.05
    final: float = 0.0
    accumulate: int = 1
    clip_norm: float | None = None
    ema: float = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    checks: int = 10
    patience: int = 0
    seed: int = 0
    strategy: Literal["ddp", "fsdp", "zero2", "zero3"] = "ddp"
    offload: bool = False
    device: Literal["auto", "cpu"] = "auto"

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), low, high)
        if self.schedule == "rewinding" and not (self.learning_rate and self.original_images):
            raise UserError(
                "training option schedule is rewinding, which needs learning_rate, the peak that the model was first "
                "trained with, and original_images, how long; without them, use cosine"
            )

    @property
    def largest_norm(self) -> float:
        """Of the gradient; 0 = any."""
        return CLIP_NORM[self.optimizer] if self.clip_norm is None else self.clip_norm

    def progress(self, images: int, steps: int) -> float:
        """The share of the budget that is used up, 0 to 1."""
        used = images / self.images
        return min(1.0, max(used, steps / self.steps if self.steps else 0.0))


def taken_from(given: Record, seed: int, names: Sequence[str] = SHARED) -> Options:
    """What the options of a technique say of its training: those of `names` that it has."""
    found = {name: getattr(given, name) for name in names if name in given.__struct_fields__}
    return Options(**found, seed=seed)


def _check(name: str, value: Any, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        allowed = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
        raise UserError(f"training option {name} is {value}; allowed are {allowed}")
