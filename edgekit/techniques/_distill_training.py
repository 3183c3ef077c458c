"""The training of a distillation: what its terms contribute at first, the loop, and the student that comes of it."""

import copy
import logging
from pathlib import Path
from typing import NamedTuple

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from edgekit.distill.distiller import Method
from edgekit.distill.taps import Tapped, graph_of
from edgekit.distill.unlabelled import Interleaved
from edgekit.errors import UserError
from edgekit.quant.trainable import give_back
from edgekit.task import Training
from edgekit.techniques import _teachers
from edgekit.train import data, first_batch
from edgekit.train import settings as loop_options
from edgekit.train.history import Trained
from edgekit.train.loop import fit

log = logging.getLogger("edgekit")


def shares_of(method: Method, training: Training, seed: int) -> dict[str, tuple[float, str]]:
    """Returns the share of each term in the loss before the first step.

    Raises:
        TaskError: The training data does not fit.
    """
    (batch,) = data.first(training, seed, 1)
    first_batch.check(method.model, training, batch)
    with torch.no_grad():
        trial = copy.deepcopy(method.model).train()
        terms = method.objective.terms(trial, batch.inputs, batch.labels)
    whole = sum(float(value) for value in terms.values()) or 1.0
    shares = {name: float(value) / whole for name, value in terms.items()}
    text = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    log.info("distillation: the loss starts at %.4f: %s", whole, text)
    return {f"share of {name}": (share, "") for name, share in shares.items()}


def with_unlabelled(training: Training, unlabelled: int, pseudo: float) -> Training:
    """Returns the training with its unlabelled batches mixed in, if it has any.

    Args:
        training: The task's own.
        unlabelled: How many for each labelled one; 0 is none.
        pseudo: The confidence from which a teacher's answer is a hard target for them; 0 is never.

    Raises:
        UserError: Hard targets are asked for, and there are no samples without labels.
    """
    if training.unlabelled is None and pseudo:
        raise UserError(
            f"distill option pseudo is {pseudo}, but the task has no unlabelled batches; "
            "give Training(unlabelled=...) or leave it out"
        )
    if training.unlabelled is None or not unlabelled:
        return training
    batches = Interleaved(training.batches, training.unlabelled, unlabelled)
    return Training(batches=batches, loss=training.loss)


class Distilled(NamedTuple):
    """The student as a float graph, and what the training did."""

    graph: GraphModule
    trained: Trained


def train_student(
    method: Method,
    program: ExportedProgram,
    training: Training,
    options: loop_options.Options,
    folder: Path,
) -> Distilled:
    """Trains the student of a method, and writes its weights into a graph of its program.

    Args:
        method: What trains, and its loss.
        program: The program that the student was made from.
        training: The batches and the loss of the task.
        options: How the training is run.
        folder: Where checkpoints are written.

    Raises:
        ConversionError: The graph computes something else than the trained student.
        Diverged: The loss became NaN or infinite.
    """
    trained = fit(
        method.model,
        training,
        options,
        objective=method.objective,
        on_step=method.on_step,
        folder=folder,
    )
    return Distilled(written(method.model.student, program), trained)


def written(student: Tapped, program: ExportedProgram) -> GraphModule:
    """Writes the weights of a trained student into a graph of the program that it was made from.

    Raises:
        ConversionError: The graph computes something else than the trained student.
    """
    graph, trained = program.module(), student.to("cpu").eval()
    with _teachers.written_back(lambda *inputs: trained(*inputs)[0], graph):
        give_back(graph_of(trained.graph), graph)
    return graph


def hits(method: Method) -> int:
    """Returns how many answers of teachers were reused."""
    cache = getattr(method.objective, "cache", None)
    return cache.hits if cache is not None else 0
