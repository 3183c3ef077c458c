"""Whether distillation paid off, compared with the same start trained on labels alone.

Both have the same budget and the same rule for the learning rate. With a teacher far better than its student,
or a large enough budget, distillation may gain nothing: then the plain weights are kept.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from torch.export import ExportedProgram
from torch.fx import GraphModule

from edgekit.quant.trainable import give_back
from edgekit.task import Training
from edgekit.techniques._score import metric_of
from edgekit.techniques._teachers import learner, written_back
from edgekit.train.loop import fit
from edgekit.train.settings import Options

if TYPE_CHECKING:
    from edgekit.task import Task

log = logging.getLogger("edgekit")


def plain(program: ExportedProgram, training: Training, options: Options, folder: Path) -> GraphModule:
    """Trains the same start on the labels alone.

    Args:
        program: What the distillation starts from.
        training: The batches and the loss of the task.
        options: The options of the distillation's own training.
        folder: Where checkpoints are written.
    """
    graph = program.module()
    model = learner(graph)
    fit(model, training, options, folder=folder)
    with written_back(model.to("cpu").eval(), graph):
        give_back(model, graph)
    return graph


def better(
    task: "Task", distilled: GraphModule, metric: float, other: GraphModule
) -> tuple[GraphModule, dict[str, tuple[float, str]]]:
    """Chooses the better graph by the task's metric; the distilled one in a tie.

    Args:
        task: The task.
        distilled: The distilled graph.
        metric: Its metric.
        other: The graph trained on labels alone.

    Returns:
        The chosen graph, and figures of what was gained.
    """
    without = metric_of(task, other)
    paid = metric >= without
    log.info(
        "distillation %s: metric %.4f, with labels alone %.4f; the %s weights are kept",
        "paid" if metric > without else "did not pay",
        metric,
        without,
        "distilled" if paid else "plain",
    )
    figures = {
        "metric after": (max(metric, without), ""),
        "metric distilled": (metric, ""),
        "metric of labels alone": (without, ""),
        "gain over labels alone": (metric - without, ""),
    }
    return distilled if paid else other, figures
