"""How a training is run.

Budgets are in images, so that they mean the same for any batch size and number of processes. The annotated
types are options that techniques share with the training loop: a technique declares those it offers, and
`taken_from` turns them into the options of the loop.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from edgekit.errors import UserError
from edgekit.records import Record, Settings

#: what techniques that train have in common
SHARED = ("images", "learning_rate", "accumulate", "ema", "precision")
#: what those may offer that leave nothing of the loop out
ALL = (*SHARED, "schedule", "original_images", "warmup", "optimizer", "weight_decay", "clip_norm")
#: the largest gradient norm, by optimizer: adamw does not mind the size of gradients, sgd starves at 1
CLIP_NORM = {"adamw": 1.0, "sgd": 5.0}

Images = Annotated[int, Meta(ge=1, description="samples to train on, counted over all processes")]
LearningRate = Annotated[
    float, Meta(ge=0, description="peak of the learning rate; 0 = found by a short probe")
]
Alpha = Annotated[
    float, Meta(ge=0, le=1, description="weight of the task's loss; the rest is that of distillation")
]
Temperature = Annotated[float, Meta(gt=0, description="temperature that softens the answers of a teacher")]
Accumulate = Annotated[int, Meta(ge=1, description="batches in one update")]
Ema = Annotated[
    float,
    Meta(ge=0, le=0.999999, description="decay of the averaged weights, which are then the result; 0 = none"),
]
Precision = Annotated[
    Literal["float32", "bfloat16", "float16"],
    Meta(
        description="of the arithmetic, by autocast; weights stay float32. bfloat16 is slow on CPUs without AMX or AVX512-BF16"
    ),
]
Processes = Annotated[
    int,
    Meta(
        ge=1,
        description="processes of this machine that train together, each with its part of every batch; one a GPU, where there are GPUs",
    ),
]
Schedule = Annotated[
    Literal["cosine", "constant", "rewinding"],
    Meta(
        description="course of the learning rate (edgekit.train.schedule); rewinding repeats that of an earlier training"
    ),
]
OriginalImages = Annotated[
    int, Meta(ge=0, description="for schedule rewinding: images of the training that made the model")
]
Optimizer = Annotated[Literal["adamw", "sgd"], Meta(description="what turns gradients into updates")]
WeightDecay = Annotated[float, Meta(ge=0, description="decay of the weights towards zero")]
Warmup = Annotated[
    float, Meta(ge=0, le=1, description="share of the budget over which the rate rises to its peak")
]
ClipNorm = Annotated[
    float, Meta(ge=0, description="largest gradient norm; 0 = any, none = 1 for adamw and 5 for sgd")
]


class Options(Settings):
    """One training: budget, learning rate, optimizer, precision, checks, and how it is distributed."""

    owner = "training"

    images: Images = 10_000
    steps: Annotated[int, Meta(ge=0, description="updates at most; 0 = as many as the images allow")] = 0
    learning_rate: LearningRate = 0.0
    schedule: Schedule = "cosine"
    original_images: OriginalImages = 0
    optimizer: Optimizer = "adamw"
    weight_decay: WeightDecay = 0.0
    warmup: Warmup = 0.05
    final: Annotated[float, Meta(ge=0, le=1, description="share of the peak at which the cosine ends")] = 0.0
    accumulate: Accumulate = 1
    clip_norm: ClipNorm | None = None
    ema: Ema = 0.0
    precision: Precision = "float32"
    checks: Annotated[
        int,
        Meta(
            ge=1,
            description="times in the budget that it validates, keeps the best weights and writes a checkpoint",
        ),
    ] = 10
    patience: Annotated[
        int, Meta(ge=0, description="checks without a gain after which it stops; 0 = never")
    ] = 0
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="seed of everything that is drawn")] = 0
    strategy: Annotated[
        Literal["ddp", "fsdp", "zero2", "zero3"],
        Meta(
            description="ddp copies the weights to every process, fsdp shards them, zero2 and zero3 are DeepSpeed's"
        ),
    ] = "ddp"
    offload: Annotated[
        bool, Meta(description="keep the optimizer's state, and with zero3 the weights, in the CPU's memory")
    ] = False
    device: Annotated[Literal["auto", "cpu"], Meta(description="auto = a GPU where there is one")] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule == "rewinding" and not (self.learning_rate and self.original_images):
            raise UserError(
                "training: schedule is rewinding, which needs learning_rate, the peak that the model was first "
                "trained with, and original_images, how long; without them, use cosine"
            )

    @property
    def largest_norm(self) -> float:
        """The largest gradient norm; 0 = any."""
        return CLIP_NORM[self.optimizer] if self.clip_norm is None else self.clip_norm

    def progress(self, images: int, steps: int) -> float:
        """Returns the share of the budget that is used up, 0 to 1."""
        used = images / self.images
        return min(1.0, max(used, steps / self.steps if self.steps else 0.0))


def taken_from(given: Record, seed: int, names: Sequence[str] = SHARED) -> Options:
    """Makes the options of the loop from those of a technique.

    Args:
        given: The options of the technique.
        seed: The seed of the run.
        names: Options to take over, where the technique has them.
    """
    found = {name: getattr(given, name) for name in names if name in given.__struct_fields__}
    return Options(**found, seed=seed)
