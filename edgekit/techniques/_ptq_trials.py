"""What post-training quantization decides by measuring, on calibration inputs, before it converts.

Bias correction, equalization and rounding by second moments improve most models and degrade some: bias
correction adds noise where few weights meet few samples, equalization where every channel has a scale of its
own. So each is tried: the signal-to-noise ratio of the outputs is compared with and without it, and it is
kept only if it gains GAIN_DB. Rounding is fitted to samples of its own; the samples that decide are different
ones.

Cost: a handful of runs over JUDGES inputs; one more calibration if there are layers to equalize.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import bias, rounding, tensors
from edgekit.quant.calibrate import Batch
from edgekit.quant.equalize import Equalized
from edgekit.quant.simulate import Compared, Simulation, balanced_db, outputs, spread

log = logging.getLogger("edgekit")

JUDGES = 16
MOVED = "weights not rounded to nearest"

Figures = dict[str, tuple[float, str]]
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Calibrated:
    """A prepared graph whose observers know their ranges.

    Attributes:
        model: The graph.
        watchers: Nodes that measure the means for bias correction, which is not applied yet.
        like: Zeros in the shape of its inputs.
        batches: Calibration batches used.
        runs: Runs of the model during calibration.
    """

    model: GraphModule
    watchers: list[Node]
    like: tuple[torch.Tensor, ...]
    batches: int
    runs: int


@dataclass
class Trial:
    """A calibrated graph with what was decided so far.

    Attributes:
        model: The graph.
        floats: Its biases before they were corrected, by path.
        figures: What was measured.
        db: The signal-to-noise ratio of its outputs.
    """

    model: GraphModule
    floats: dict[str, torch.Tensor]
    figures: Figures = field(default_factory=dict)
    db: float = 0.0

    def note(self, compared: Compared) -> None:
        """Logs a comparison and adds it to the figures."""
        log.info("%s", compared)
        word = "kept" if compared.helps else "left out"
        self.figures[f"output SNR with {compared.choice} ({word})"] = (compared.with_db, "dB")
        self.figures[f"output SNR without {compared.choice}"] = (compared.without_db, "dB")


class Judge:
    """Measures the signal-to-noise ratio against the float outputs of a calibrated graph.

    Args:
        trial: The graph.
        samples: The inputs that decide.
    """

    def __init__(self, trial: Trial, samples: Sequence[Batch]) -> None:
        self.samples = samples
        self.reference = outputs(Simulation(trial.model, rounds=False, stored=trial.floats), samples)

    def __call__(self, model: GraphModule) -> float:
        """Returns the signal-to-noise ratio of a graph, in dB."""
        return balanced_db(self.reference, outputs(Simulation(model), self.samples))

    def compared(self, choice: str, with_db: float, without_db: float) -> Compared:
        """Returns a comparison of two ratios, as a record."""
        return Compared(choice=choice, with_db=with_db, without_db=without_db, samples=len(self.samples))


def choose(
    found: Calibrated,
    calibration: Iterable[object],
    equalized: Callable[[], tuple[Equalized, Calibrated | None]] | None,
    rounds: bool,
) -> Trial:
    """Decides what to convert.

    Args:
        found: The calibrated graph.
        calibration: The calibration batches of the task.
        equalized: Calibrates the equalized graph; None where that is not tried.
        rounds: Whether rounding by second moments is tried. It also adjusts the biases, if they may be
            corrected.

    Returns:
        The graph, and what was measured.
    """
    trial = Trial(found.model, bias.correct(found.model, found.watchers))
    fitted = rounding.samples_within(found.model) if rounds else 0
    samples = spread(calibration, found.like, found.runs, JUDGES + fitted)
    if not samples:  # an iterable whose batches can be read only once
        return trial
    judges = samples[:: max(1, len(samples) // JUDGES)][:JUDGES]
    judge = Judge(trial, judges)
    _judge_biases(trial, judge)
    if equalized is not None:
        trial = _judge_equalized(trial, *equalized(), judge)
    if rounds:
        others = [sample for sample in samples if all(sample is not other for other in judges)]
        _judge_rounding(trial, others or judges, judge, bool(found.watchers))
    trial.figures |= {"output SNR": (trial.db, "dB"), "samples that judged": (len(judges), "count")}
    return trial


def _judge_biases(trial: Trial, judge: Judge) -> None:
    trial.db = judge(trial.model)
    if not trial.floats:
        return
    corrected = _swap(trial.model, trial.floats)
    compared = judge.compared("bias correction", trial.db, judge(trial.model))
    trial.note(compared)
    trial.db = compared.with_db if compared.helps else compared.without_db
    if compared.helps:
        _swap(trial.model, corrected)


def _judge_equalized(plain: Trial, done: Equalized, found: Calibrated | None, judge: Judge) -> Trial:
    """The better of the plain graph and the equalized one, each with the biases that suit it."""
    reasons = {f"layers not equalized: {why}": (n, "count") for why, n in done.left_out.items()}
    plain.figures |= {"pairs of layers to equalize": (len(done.pairs), "count"), **reasons}
    if found is None:
        return plain
    other = Trial(found.model, bias.correct(found.model, found.watchers))
    _judge_biases(other, judge)
    compared = judge.compared("equalization", other.db, plain.db)
    plain.note(compared)
    if not compared.helps:
        return plain
    other.figures = plain.figures | other.figures
    return other


def _judge_rounding(trial: Trial, samples: Sequence[Batch], judge: Judge, biases: bool) -> None:
    layers = rounding.roundable(trial.model)
    nearest = {
        path: tensors.read(trial.model, path) for layer in layers for path in rounding.stored_paths(layer)
    }
    done = rounding.round_weights(trial.model, samples, trial.floats, biases)
    compared = judge.compared("gptq rounding", judge(trial.model), trial.db)
    trial.note(compared)
    if compared.helps:
        trial.db = compared.with_db
        trial.figures[MOVED] = (done.changed / max(1, done.weights), "share")
    else:
        _swap(trial.model, nearest)


def _swap(model: GraphModule, values: Tensors) -> Tensors:
    """Writes tensors by path; returns the former ones."""
    old = {path: tensors.read(model, path) for path in values}
    for path, value in values.items():
        tensors.write(model, path, value)
    return old
