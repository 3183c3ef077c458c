"""The learning rate: a peak that a probe finds, a warm-up to it, and a cosine down from it.

The rate is a function of the share of the budget that is used up, and of nothing else, so a resumed training
continues where it was. Loshchilov and Hutter 2017 (arXiv:1608.03983), without restarts; the warm-up of Goyal
et al. 2017 (arXiv:1706.02677).

Rewinding (Renda et al. 2020, arXiv:2003.02389) gives a pruned network the schedule that it was first trained
with. With the original peak a short training does damage: recovering a pruned ResNet-20 (peak .1, 10 M
images) kept 52 % with 3,840 images and 67 % with 12,800, where peaks of .007 and .011 kept 72 and 79 %
(benchmarks/README.md, recovery). So the peak is scaled by the cube root of the share of the original images,
which results in these peaks; it is a rule of thumb from few points.

The probe tries a few rates in geometric steps. Each gets a miniature training of its own, with warm-up and a
cosine to zero, on a copy of the model and on the same batches; batches that none of them trained on decide.
Of the rates within TIED of the best loss the highest is taken: a miniature is too short to show what a higher
rate gains, but it shows which rates break the model. Momentum takes ten updates to build up: in fewer, SGD's
highest rate can look best even where it ruins a freshly pruned network. Cost: PROBED_RATIO of the budget,
more if that is less than the least number of UPDATES, and one copy of the model.
"""

import copy
import logging
import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from edgekit.errors import Diverged
from edgekit.train.data import Batch, seed_step
from edgekit.train.settings import Options

log = logging.getLogger("edgekit")

Objective = Callable[[nn.Module, tuple[torch.Tensor, ...], object], torch.Tensor]

#: rates that the probe tries, lowest first
RATES = {
    "adamw": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
    "sgd": (1e-4, 1e-3, 5e-3, 2e-2, 1e-1),
}
PROBED_RATIO = 0.15  # the share of the budget that may be spent on all rates together
#: updates of each rate, at least and at most
UPDATES = {"adamw": (6, 24), "sgd": (12, 24)}
JUDGES = 4  # batches that decide
TIED = 1.05  # times the best loss


def given_peak(options: Options) -> float:
    """Returns the highest rate that the options ask for; 0 if a probe is to find it."""
    if options.schedule != "rewinding":
        return options.learning_rate
    return options.learning_rate * min(1.0, options.images / options.original_images) ** (1 / 3)


def rate(options: Options, peak: float, progress: float) -> float:
    """Returns the learning rate at the point where `progress` of the budget is used up."""
    if options.schedule == "constant":
        return peak
    if progress < options.warmup:
        return peak * (progress + 0.1 * (options.warmup - progress)) / options.warmup
    along = (progress - options.warmup) / max(1e-9, 1 - options.warmup)
    floor = peak * options.final
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))


def optimizer_of(model: nn.Module, options: Options, peak: float) -> torch.optim.Optimizer:
    """Makes the optimizer, for every parameter that requires gradients."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if options.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=peak, momentum=0.9, nesterov=True, weight_decay=options.weight_decay
        )
    return torch.optim.AdamW(parameters, lr=peak, weight_decay=options.weight_decay)


def updates_of_probe(options: Options, rows: int) -> int:
    """Returns the updates for each rate, for batches of `rows` samples."""
    allowed = PROBED_RATIO * options.images / max(1, rows) / len(RATES[options.optimizer])
    low, high = UPDATES[options.optimizer]
    return max(low, min(high, round(allowed)))


def probe(
    model: nn.Module, objective: Objective, batches: Sequence[Batch], options: Options
) -> dict[float, float]:
    """Tries the rates; the model itself is not changed.

    Args:
        model: The model.
        objective: The loss.
        batches: The last JUDGES of them decide, the others train.
        options: How the training is run.

    Returns:
        {rate: loss afterwards}.
    """
    training, judging = batches[:-JUDGES] or batches, batches[-JUDGES:]
    found = {}
    for tried in RATES[options.optimizer]:
        trial = copy.deepcopy(model).train()
        _train(trial, objective, training, options, tried)
        with torch.no_grad():
            losses = [float(objective(trial, batch.inputs, batch.labels)) for batch in judging]
        loss = sum(losses) / len(losses)
        found[tried] = loss if math.isfinite(loss) else math.inf
        log.info("learning-rate probe: %g leaves a loss of %.4f", tried, found[tried])
    return found


def highest(found: dict[float, float]) -> float:
    """Returns the rate to use.

    Raises:
        Diverged: No rate leaves a finite loss.
    """
    best = min(found.values())
    if not math.isfinite(best):
        raise Diverged(
            "no learning rate of the probe leaves a finite loss; look at the loss and at the inputs"
        )
    return max(tried for tried, loss in found.items() if loss <= best * TIED or loss == best)


def _train(
    trial: nn.Module, objective: Objective, batches: Sequence[Batch], options: Options, tried: float
) -> None:
    optimizer = optimizer_of(trial, options, tried)
    for number, batch in enumerate(batches):
        seed_step(options.seed, number, 0)
        optimizer.param_groups[0]["lr"] = rate(options, tried, number / len(batches))
        loss = objective(trial, batch.inputs, batch.labels)
        if not torch.isfinite(loss):
            return
        optimizer.zero_grad()
        loss.backward()
        if options.largest_norm:
            torch.nn.utils.clip_grad_norm_(trial.parameters(), options.largest_norm)
        optimizer.step()
