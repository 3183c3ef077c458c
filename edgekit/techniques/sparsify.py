"""Sparsity: most weights of a trained network can be exactly zero; this chooses which, and adapts the others.

Magnitude: the smallest weights become zero (Han et al. 2015, arXiv:1506.02626). Movement: those that training
moves towards zero do (`edgekit.sparse.masks`), a criterion for pretrained networks that are tuned to another
task: where training changes little its scores are noise, so give it alpha=1 and a late begin. On the network
of the tests (digits, half of the weights zero) magnitude is far better. One shot: all at once, then the rest
is fine-tuned. Gradual: a cubic schedule during training (`edgekit.sparse.sparsity_schedule`). The masks apply
to weights as they are stored, batch norms unfolded, so that a mask survives folding; patterns are in
`edgekit.sparse.patterns`.

What it is good for: the download. The file keeps its size, but compresses: of EfficientNet-Lite0 with 80 %
zeros gzip leaves a third. No speed-up is promised: the kernels of these runtimes multiply by zero too, and
the gate measures the result.

- Loss of the fine-tuning: alpha times the task's, the rest is the divergence from the program as it came
  (`edgekit.train.objective`).
- Without training data: one shot and no fine-tuning; the statistics of batch norms are measured again on
  calibration inputs. EfficientNet-Lite0 with half of its weights zero: top-1 falls from .878 to .045, and to
  .690 with new statistics (benchmarks/sparsity.py).
- A later ptq keeps every zero: its weights have no zero point; equalization and bias correction do not touch
  them. qat keeps them by masks. `rounding="gptq"` fills some (1 % of the weights of the tests' network),
  which is then reported as a doubt.

Cost: one shot, a sort of the weights, seconds. Fine-tuning: `images` forward and backward, and forward of the
float program; a sort of the weights at each of 50 renewals.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import torch
from msgspec import Meta
from torch.fx import GraphModule

from edgekit.engine.stage_folder import CHECKPOINT
from edgekit.errors import TaskError, UserError
from edgekit.quant import program as programs
from edgekit.quant import tensors
from edgekit.quant.calibrate import checked, yielded
from edgekit.quant.recalibrate import recalibrate
from edgekit.quant.trainable import OneByOne, give_back
from edgekit.records import Candidate, Settings
from edgekit.sparse import dead_channels, patterns
from edgekit.sparse import layers as weights
from edgekit.sparse.layers import Ignore, Keep, Layer
from edgekit.sparse.masks import Criterion, Masks
from edgekit.sparse.patterns import Scope
from edgekit.sparse.sparsity_schedule import Gradual, Ramp, When
from edgekit.techniques._figures import noted
from edgekit.techniques._score import figures_of, metric_of
from edgekit.techniques._teachers import learner, teacher, written_back
from edgekit.train import settings as loop_options
from edgekit.train.loop import fit
from edgekit.train.objective import Distillation
from edgekit.train.settings import Accumulate, Alpha, Ema, LearningRate, Precision, Processes, Temperature

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

RECALIBRATED = 10_000  # the largest number of inputs that batch norms are measured on


class Options(Settings):
    """How many weights become zero, which ones and when, and how the others are fine-tuned."""

    pattern: Annotated[
        str,
        Meta(description="weights that go together: unstructured, N:M as in 2:4, or ROWSxCOLUMNS as in 4x1"),
    ] = "unstructured"
    sparsity: Annotated[float, Meta(gt=0, lt=1, description="share of zeros in the layers made sparse")] = 0.5
    scope: Annotated[
        Scope, Meta(description="whether weights of all layers compete, or those of each layer")
    ] = "global"
    criterion: Annotated[Criterion, Meta(description="which weights go first (edgekit.sparse.masks)")] = (
        "magnitude"
    )
    schedule: Annotated[When, Meta(description="all at once, or more and more while it trains")] = "one_shot"
    begin: Annotated[
        float, Meta(ge=0, le=1, description="share of the budget at which a gradual schedule begins")
    ] = 0.1
    end: Annotated[
        float, Meta(ge=0, le=1, description="share of the budget at which a gradual schedule is complete")
    ] = 0.7
    ignore: Ignore = ""
    keep: Keep = "none"
    images: Annotated[int, Meta(ge=0, description="samples to fine-tune on; 0 = none")] = 10_000
    learning_rate: LearningRate = 0.0
    recalibrate: Annotated[
        bool, Meta(description="measure batch norm statistics again where nothing is trained")
    ] = True
    alpha: Alpha = 0.1
    temperature: Temperature = 4.0
    accumulate: Accumulate = 1
    precision: Precision = "float32"
    processes: Processes = 1
    ema: Ema = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        own = patterns.read(self.pattern).own_sparsity
        if own is not None and abs(own - self.sparsity) > 1e-9:
            raise UserError(
                f"sparsify: sparsity is {self.sparsity}; pattern {self.pattern} has {own:g}, give that"
            )
        Ramp(begin=self.begin, end=self.end)
        if self.criterion == "movement" and self.schedule != "gradual":
            raise UserError("sparsify: criterion movement is learned while weights go; give schedule=gradual")

    def loop(self, seed: int) -> loop_options.Options:
        """Returns the options of the training loop."""
        return loop_options.taken_from(self, seed)


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Makes weights of the candidate zero, fine-tunes the others, and writes it to program.pt2.

    Raises:
        UserError: A name is not a layer.
        NotApplicable: The network has no layer to make sparse, or the sparsity would remove a whole one.
        TaskError: A gradual schedule has no training data, or the data does not fit.
        Diverged: The loss became NaN or infinite.
    """
    start, path = time.perf_counter(), Path(context.work) / "program.pt2"
    _check_training(task, options)
    program = programs.load(candidate.program)
    like, graph = programs.user_inputs(program), program.module()
    del program
    pattern, found = patterns.read(options.pattern), weights.find(graph)
    chosen = weights.chosen(found, pattern, options.ignore, options.keep)
    model = learner(graph)
    masks = Masks(model, chosen, options.criterion)
    magnitudes = [weight.abs() for weight in masks.weights()]
    dead_channels.check(chosen, magnitudes, pattern, options.sparsity, options.scope)
    figures = {"metric before": (metric_of(task, graph), "")}
    figures |= _cut(candidate, task, options, context, model, masks, like)
    with written_back(model.eval(), graph):
        give_back(model, graph)
        masks.write(graph)
    figures |= {"metric after": (metric_of(task, graph), ""), **_counted(graph, found, chosen)}
    programs.save(programs.export(graph, like), path)
    shutil.rmtree(path.with_name(CHECKPOINT), ignore_errors=True)
    doubts = dead_channels.doubts(chosen, [mask.kept for mask in masks.masks])
    done = msgspec.structs.replace(candidate, program=str(path), doubts=(*candidate.doubts, *doubts))
    return noted(done, "sparsify", {**figures, "seconds": (time.perf_counter() - start, "s")})


def _check_training(task: "Task", options: Options) -> None:
    if options.schedule == "gradual" and (task.training is None or not options.images):
        raise TaskError(
            f"task {task.name!r}: schedule=gradual and criterion=movement train; they need Training(batches=..., loss=...) and "
            "images above 0. Without, give schedule=one_shot"
        )


def _cut(
    candidate: Candidate,
    task: "Task",
    options: Options,
    context: "Context",
    model: GraphModule | OneByOne,
    masks: Masks,
    like: tuple[torch.Tensor, ...],
) -> dict[str, tuple[float, str]]:
    """Masks weights of `model`, at once or while it trains; without training, recalibrates its norms."""
    pattern, gradual = patterns.read(options.pattern), None
    if options.schedule == "gradual":
        ramp = Ramp(begin=options.begin, end=options.end)
        gradual = Gradual(masks, pattern, options.sparsity, options.scope, ramp)
    else:
        masks.renew(pattern, options.sparsity, options.scope)
    if task.training is not None and options.images:
        trained = fit(
            model,
            task.training,
            options.loop(context.seed),
            objective=Distillation(
                [teacher(candidate)], task.training.loss, options.alpha, options.temperature
            ),
            on_step=gradual,
            folder=Path(context.work) / CHECKPOINT,
        )
        model.to("cpu")
        if gradual is not None:
            gradual(1.0)
        return figures_of(trained)
    if not options.recalibrate or task.calibration is None:
        return {}
    before = metric_of(task, model)
    inputs = (checked(batch, like, n) for n, batch in enumerate(yielded(task.calibration)))
    taken = recalibrate(model, inputs, RECALIBRATED)
    return {
        "metric before recalibration": (before, ""),
        "inputs of the recalibration": (taken, "count"),
    }


def _counted(
    graph: GraphModule, found: Sequence[Layer], chosen: Sequence[Layer]
) -> dict[str, tuple[float, str]]:
    """What is counted in the stored weights, not taken from the masks."""
    kept = {layer.path: tensors.read(graph, layer.path) != 0 for layer in found}
    zeros = {path: int((~mask).sum()) for path, mask in kept.items()}
    return {
        "zeros of the sparse layers": (
            sum(zeros[c.path] for c in chosen) / sum(c.size for c in chosen),
            "share",
        ),
        "zeros of all layers": (sum(zeros.values()) / sum(layer.size for layer in found), "share"),
        "layers made sparse": (len(chosen), "count"),
        "layers left dense": (len(found) - len(chosen), "count"),
        "output channels of zeros": (sum(dead_channels.dead_channels(kept[c.path]) for c in chosen), "count"),
    }
