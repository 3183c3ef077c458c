"""Distillation: a small or pruned net learns from a good one, of whose answers each says more than a label.

TODO
"""

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from torch.export import ExportedProgram
from torchao.quantization.pt2e.utils import _fuse_conv_bn_, _fuse_linear_bn_

from edgekit.compress import _teachers, ptq
from edgekit.compress._score import metric_of
from edgekit.distill import modes, pairs
from edgekit.distill.distiller import Method, Setting
from edgekit.distill.taps import Tapped, graph_of
from edgekit.errors import TaskError, UserError
from edgekit.quant import program as programs
from edgekit.quant.trainable import give_back, trainable
from edgekit.records import Candidate, Record
from edgekit.stages import CHECKPOINT
from edgekit.train import options as loop_options
from edgekit.train.loop import fit
from edgekit.train.objective import Distillation

if TYPE_CHECKING:
    from edgekit.specs import Context
    from edgekit.task import Task

log = logging.getLogger("edgekit")


class Options(Record):
    """TODO"""

    images: int = 20_000
    learning_rate: float = 0.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.0
    accumulate: int = 1
    ema: float = 0.0
    mode: str = "offline"
    teachers: str = ""
    student: str = ""
    alpha: float = 0.1
    temperature: float = 4.0
    features: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UserError(f"distill option alpha is {self.alpha}; allowed are 0 to 1")
        if not self.temperature > 0:
            raise UserError(f"distill option temperature is {self.temperature}; it must be above 0")
        if self.mode not in modes.names():
            raise UserError(f"distill option mode is {self.mode!r}; allowed are {', '.join(modes.names())}")

    def loop(self, seed: int) -> loop_options.Options:
        """Of the training loop."""
        names = ("images", "learning_rate", "optimizer", "weight_decay", "accumulate", "ema")
        return loop_options.Options(**{name: getattr(self, name) for name in names}, seed=seed)


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    if task.training is None:
        raise TaskError(
            f"task {task.name!r} has no training data; distill needs Training(batches=..., loss=...)"
        )
    start, work = time.perf_counter(), Path(context.work)
    program = programs.load(candidate.program)
    graph = program.module()
    method = _method(graph, program, candidate, task, options, context)
    before = metric_of(task, graph)
    trained = fit(
        method.model,
        task.training,
        options.loop(context.seed),
        objective=method.objective,
        on_step=method.on_step,
        folder=work / CHECKPOINT,
    )
    give_back(graph_of(method.model.student.graph), graph)
    path = work / "program.pt2"
    programs.save(programs.export(graph, program), path)
    shutil.rmtree(work / CHECKPOINT, ignore_errors=True)
    figures = {
        "images trained": (trained.images, "count"),
        "metric before": (before, ""),
        "metric after": (metric_of(task, graph), ""),
        "seconds": (time.perf_counter() - start, "s"),
    }
    done = msgspec.structs.replace(candidate, program=str(path))
    return ptq.noted(done, "distill", figures)


def _method(graph, program, candidate, task, options, context) -> Method:
    named = _teachers.teachers(options.teachers, candidate, task, context)
    for name, teacher in named.items():
        _teachers.check_same(name, teacher, program)
    graphs = [_teacher(p, not options.features) for p in named.values()]
    student = trainable(graph)
    chosen = pairs.read(options.features, graph_of(student), graph_of(graphs[0])) if options.features else []
    tapped = [
        Tapped(g, [p.teacher for p in chosen] if i == 0 else [], "teacher") for i, g in enumerate(graphs)
    ]
    response = Distillation(tapped, task.training.loss, options.alpha, options.temperature)
    setting = Setting(
        student=Tapped(student, [p.student for p in chosen], "student"),
        teachers=tapped,
        pairs=chosen,
        response=response,
        weight=options.weight,
    )
    return modes.method(options.mode, setting)


def _teacher(program: ExportedProgram, folds: bool):
    graph = program.module()
    if folds:
        _fuse_conv_bn_(graph)
        _fuse_linear_bn_(graph)
    return trainable(graph)
