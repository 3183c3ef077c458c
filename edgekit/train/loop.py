"""The loop: `fit` trains a module in place, on whatever hardware the options say, and returns what happened.

One update: some batches (accumulation), a global mean loss, clipped gradients, and a rate that depends on the
share of the budget used up. At each check: the mean loss since the last one, the caller's own metric, the
best weights, a checkpoint, and a line in the log. A loss or gradient that becomes NaN or infinite ends it:
the best weights so far are put back into the model, and `Diverged` is raised.

If it is killed at any point and started again with the same folder, it ends with the same weights, bit for
bit on the same machine: the rate, the random numbers and the order of the data are functions of the seed and
the step alone.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from edgekit.task import Training
from edgekit.train import distributed, schedule
from edgekit.train.history import Trained
from edgekit.train.settings import Options
from edgekit.train.training_run import OnStep, Run, Validate


def fit(
    model: nn.Module,
    training: Training,
    options: Options,
    *,
    objective: schedule.Objective | None = None,
    validate: Validate | None = None,
    on_step: OnStep | None = None,
    folder: Path | None = None,
    belongs: Mapping[str, Any] | None = None,
) -> Trained:
    """Trains a module in place.

    With `validate` or patience the best weights are the result, else the last ones. With strategy fsdp the
    model stays sharded: `checkpoint.state_of` gathers it.

    Args:
        model: The module.
        training: The batches and the loss of the task.
        options: How the training is run.
        objective: (model, inputs, labels) -> mean loss; None is the task's own loss. If it has `teachers`,
            they are sharded as the model is.
        validate: Scores the module at each check; higher is better.
        on_step: Called at the start of each update with the share of the budget used up.
        folder: Where checkpoints are written, and found again.
        belongs: What must be the same, besides model and options, for a checkpoint to be resumed, such as
            what the objective was made of; JSON values.

    Returns:
        What the training did.

    Raises:
        TaskError: The data does not fit.
        UserError: A checkpoint belongs to something else, or an option is not possible here.
        Diverged: The loss or the gradient became NaN or infinite.
        WorkerLost: Another process died.
    """
    started = time.perf_counter()
    accelerator = distributed.start(options, changes=on_step is not None)
    with distributed.watched():
        run = Run(model, training, options, objective, validate, on_step, folder, belongs or {}, accelerator)
        run.prepare()
        run.train()
        run.finish()
    return run.result(time.perf_counter() - started)
