"""Whether distillation paid: the same start, trained on the labels alone with the same budget and the same rule for the rate.

A teacher far better than its student, or a budget that is large enough, may be no better than none: then the plain weights are kept.
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
    """The same start, trained on the labels alone."""
    graph = program.module()
    model = learner(graph)
    fit(model, training, options, folder=folder)
    with written_back(model.to("cpu").eval(), graph):
        give_back(model, graph)
    return graph


def better(
    task: "Task", distilled: GraphModule, metric: float, other: GraphModule
) -> tuple[GraphModule, dict[str, tuple[float, str]]]:
    """Of both by the task's metric, distilled where they tie; and what was gained."""
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
