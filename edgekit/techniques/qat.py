"""Quantization-aware training: weights learn to cope with rounding, where post-training quantization fails.

The graph that `ptq` calibrates, with the same ranges, equalized and bias-corrected where that helps, gets
fake quantization in place of its observers (`edgekit.quant.fake`) and is trained for a while. Its forward
pass computes what the integers will compute; in the backward pass rounding counts as the identity. Jacob et
al. 2018 (arXiv:1712.05877), section 3; Krishnamoorthi 2018 (arXiv:1806.08342), section 3.2: 4-bit weights
within 5 % of float, depthwise networks at 8 bits within 1 %.

- Loss: alpha times the task's loss and 1 - alpha times the divergence from the float model
  (`edgekit.train.objective`). The float model knows more about an image than its label says, and it is what
  the budget compares with.
- Batch norms are folded into the convolutions before training, with the statistics they came with. Folding
  afterwards, as torchao's `prepare_qat_pt2e` does, trains one function and converts another, and its pattern
  matching takes gigabytes. Folded first, the trained graph and the converted one round the same tensors on
  the same grids: the figures "metric fake-quantized" and "metric converted" differ only by the last bit of
  sums, and "conversion gap" shows it.
- A batch norm that no layer absorbs (before a ReLU, as in DenseNet) stays, and uses its running statistics
  from the share `freeze_norms` of the budget on; 0 is from the start.
- Zeros that `sparsify` or `lottery` made stay: masks hold them during training.
- Ranges train too, up to the share `freeze_ranges` of the budget; then the weights settle on fixed grids.

The metric that decides is the artifact's, in its own runtime; the two figures here explain it. Cost: `images`
forward and backward, and forward of the float model; gradients and two moments of each weight in memory.
ResNet-20 for CIFAR on one core: 4 s to prepare, 5 ms an image, 1.0 GB at most, of which 0.6 are the
libraries. `prepare_qat_pt2e` and its conversion took over 100 s and 2.8 to 4.1 GB without any training.
"""

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta
from torch import nn

from edgekit.engine.stage_folder import CHECKPOINT
from edgekit.quant import fake
from edgekit.quant.trainable import Norm, give_back, trainable
from edgekit.records import Candidate, Settings
from edgekit.sparse.masks_of_program import masks_of_zeros
from edgekit.techniques import _quantized_program, ptq
from edgekit.techniques._figures import noted
from edgekit.techniques._score import figures_of, metric_of
from edgekit.techniques._teachers import teacher
from edgekit.techniques._training_data import training_of
from edgekit.train import settings as loop_options
from edgekit.train.loop import fit
from edgekit.train.objective import Distillation
from edgekit.train.settings import (
    Accumulate,
    Alpha,
    Ema,
    Images,
    LearningRate,
    Precision,
    Processes,
    Temperature,
)

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

log = logging.getLogger("edgekit")


class Options(Settings):
    """How long and how it trains, and how the ranges that it starts from are found."""

    images: Images = 10_000
    learning_rate: LearningRate = 0.0
    alpha: Alpha = 0.1
    temperature: Temperature = 4.0
    freeze_ranges: Annotated[
        float, Meta(ge=0, le=1, description="share of the budget after which ranges no longer train")
    ] = 0.8
    freeze_norms: Annotated[
        float,
        Meta(
            ge=0, le=1, description="share of the budget after which batch norms use their running statistics"
        ),
    ] = 0.0
    estimator: ptq.Estimator = "mse"
    batches: ptq.CalibrationBatches = 100
    skip: ptq.Skip = ""
    accumulate: Accumulate = 1
    precision: Precision = "float32"
    processes: Processes = 1
    ema: Ema = 0.0

    def loop(self, seed: int) -> loop_options.Options:
        """Returns the options of the training loop."""
        return loop_options.taken_from(self, seed)


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Calibrates and trains the candidate; writes the quantized program, weights unfolded, to program.pt2.

    Raises:
        UserError: The candidate has no `quant`.
        TaskError: The task has no training data, or data that does not fit.
        Diverged: The loss became NaN or infinite.
    """
    training = training_of(task, "qat")
    start, work = time.perf_counter(), Path(context.work)
    settings = ptq.Options(estimator=options.estimator, batches=options.batches, skip=options.skip)
    calibrated, trial = ptq.decided(candidate, task, settings, context)
    grids = fake.fake_quantize(trial.model)
    model = trainable(trial.model)
    masks = masks_of_zeros(candidate, model)
    ready = time.perf_counter()
    trained = fit(
        model,
        training,
        options.loop(context.seed),
        objective=Distillation([teacher(candidate)], training.loss, options.alpha, options.temperature),
        on_step=_Schedule(options, model, grids),
        folder=work / CHECKPOINT,
    )
    done = time.perf_counter()
    model.to("cpu")
    faked = metric_of(task, model)
    give_back(model, trial.model)
    if masks is not None:
        masks.write(trial.model)
    converted = _quantized_program.converted(trial.model)
    real = metric_of(task, converted)
    after = _quantized_program.written(candidate, converted, calibrated.like, work, "qat", options.skip)
    shutil.rmtree(work / CHECKPOINT, ignore_errors=True)
    figures = {
        "calibration batches": (calibrated.batches, "count"),
        "output SNR of ptq": (trial.db, "dB"),
        **figures_of(trained),
        "metric fake-quantized": (faked, ""),
        "metric converted": (real, ""),
        "conversion gap": (faked - real, ""),
        "seconds to prepare": (ready - start, "s"),
        "seconds to train": (done - ready, "s"),
        "seconds": (time.perf_counter() - start, "s"),
    }
    return noted(after, "qat", figures)


class _Schedule:
    """Freezes ranges and norms; depends on the progress alone, so a resumed training does the same."""

    def __init__(self, options: Options, model: nn.Module, grids: list[fake.LearnedGrid]) -> None:
        self._options, self._grids = options, grids
        self._norms = [module for module in model.modules() if isinstance(module, Norm)]

    def __call__(self, progress: float) -> None:
        for norm in self._norms:
            norm.frozen = progress >= self._options.freeze_norms
        if progress >= self._options.freeze_ranges:
            for grid in self._grids:
                grid.freeze()
