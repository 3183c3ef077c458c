"""Distillation: a small or pruned network learns from a good one, whose answers tell more than labels.

The loss is alpha times the task's and 1 - alpha times the divergence of the softened classes
(`edgekit.train.objective`). What else the student sees is a choice of modes and terms:

- `mode` says who teaches (`edgekit.distill.modes`): "offline" one or several trained networks; "online" a
  peer that learns along; "ema" the student's own average; "exits" the student's last stage its earlier ones.
- `teachers`: "" the float model of the task; "before" the network before it was pruned, so that prune,
  distill, prune, distill is a chain of teacher assistants (Mirzadeh et al. 2019, arXiv:1902.03393: a smaller
  gap between student and teacher teaches more); or "file.py:function" and .pt2 files, several separated by
  commas.
- `student`: "" the program as the steps before left it, or "file.py:function?setting=value" for a compact
  network, which then replaces it, also for a later `prune`.
- `features` also compares inner tensors (`edgekit.distill.pairs`, `edgekit.distill.terms`): "auto:attention"
  guesses the ends of the stages, "layer2=features.4:hint:0.5" names them. The log says what share of the loss
  each term has at the first step.
- Training(unlabelled=...) adds batches without labels; `pseudo` adds their confident answers as hard targets.
- `guard` also trains the same start on labels alone with the same budget, keeps the better of the two and
  says which.

Distillation can go in stages: first on a large unlabelled transfer set, then on the task. TinyBERT (Jiao et
al. 2020, arXiv:1909.10351) calls them general and task-specific distillation; the recipe is

    Step(technique="distill", options={"student": "nets.py:compact", "alpha": 0.0, "images": 200_000})
    Step(technique="distill", options={})
    Step(technique="distill", options={"alpha": 1.0})      # fine-tunes on labels alone

With alpha 0 no label counts, so labelled and unlabelled batches teach alike. Pre-trained distillation (Turc
et al. 2019, arXiv:1908.08962) puts a stage without a teacher before them: the student reads texts and learns
which words were taken out, `pretrain(student=...) > distill(alpha=0) > distill(alpha=1)`
(`edgekit.techniques.pretrain`; benchmarks/pretrained_distillation.py).

A student that was never trained does better with temperature=1 and alpha=0.5 than with the defaults if the
budget is small (44.6 % against 40.3 %, ResNet-8 on CIFAR-10, 12,800 images, one seed; labels alone 44.1 %),
or with mode "online" (47.5 %).

The metric that decides is the artifact's; "metric before" and "metric after" explain it. The last weights are
the result. Cost: `images` forward and backward of the student and forward of each teacher, unless its answers
are kept; `guard` doubles the training.
"""

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import torch
from msgspec import Meta
from torch.export import ExportedProgram

from edgekit.distill import modes
from edgekit.distill.distiller import Method, Setting
from edgekit.engine.stage_folder import CHECKPOINT
from edgekit.errors import UserError
from edgekit.quant import program as programs
from edgekit.records import Candidate, Settings
from edgekit.techniques import _guard, _teachers
from edgekit.techniques._distill_training import hits, shares_of, train_student, with_unlabelled
from edgekit.techniques._figures import noted
from edgekit.techniques._score import figures_of, metric_of
from edgekit.techniques._training_data import training_of
from edgekit.train import data
from edgekit.train import settings as loop_options
from edgekit.train.settings import (
    Accumulate,
    Alpha,
    ClipNorm,
    Ema,
    Images,
    LearningRate,
    Optimizer,
    OriginalImages,
    Precision,
    Processes,
    Schedule,
    Temperature,
    Warmup,
    WeightDecay,
)  # fmt: skip

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

log = logging.getLogger("edgekit")


class Options(Settings):
    """Who teaches what to whom, and how the student trains; the head of the module explains it."""

    images: Images = 20_000
    learning_rate: LearningRate = 0.0
    alpha: Alpha = 0.1
    temperature: Temperature = 4.0
    mode: Annotated[modes.Mode, Meta(description="who teaches (edgekit.distill.modes)")] = "offline"
    teachers: Annotated[
        str,
        Meta(
            description="empty = the float model of the task; before = the network before it was pruned; else .pt2 files and "
            "file.py:function, separated by commas"
        ),
    ] = ""
    student: _teachers.Student = ""
    features: Annotated[
        str,
        Meta(
            description="inner tensors to compare: auto:TERM or STUDENT=TEACHER:TERM:WEIGHT, separated by commas"
        ),
    ] = ""
    weight: Annotated[
        float, Meta(ge=0, le=1_000_000, description="weight of all features together, or of the early exits")
    ] = 1.0
    pseudo: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="confidence from which a teacher's answer is a hard target for an unlabelled sample; 0 = never",
        ),
    ] = 0.0
    unlabelled: Annotated[
        int,
        Meta(ge=0, le=1000, description="unlabelled batches for each labelled one, where the task has any"),
    ] = 1
    decay: Annotated[
        float, Meta(ge=0, le=0.999999, description="decay of the mean teacher, for mode ema")
    ] = 0.999
    guard: Annotated[
        bool,
        Meta(description="also train on labels alone, with the same budget, and keep the better of the two"),
    ] = False
    cache: Annotated[bool, Meta(description="keep the answers of teachers for samples that come again")] = (
        True
    )
    schedule: Schedule = "cosine"
    original_images: OriginalImages = 0
    warmup: Warmup = 0.05
    optimizer: Optimizer = "adamw"
    weight_decay: WeightDecay = 0.0
    clip_norm: ClipNorm | None = None
    accumulate: Accumulate = 1
    precision: Precision = "float32"
    processes: Processes = 1
    ema: Ema = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pseudo and not self.alpha:
            raise UserError("distill: pseudo needs alpha above 0, the weight of hard targets")
        if self.teachers and modes.teachers(self.mode) == "none":
            raise UserError(
                f"distill: mode {self.mode} is its own teacher; leave out teachers={self.teachers}"
            )

    def loop(self, seed: int) -> loop_options.Options:
        """Returns the options of the training loop."""
        return loop_options.taken_from(self, seed, loop_options.ALL)


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Trains the candidate, or the student that replaces it, and writes it to program.pt2 in the work folder.

    Raises:
        UserError: A teacher, a student or a feature that is named does not fit.
        NotApplicable: The network does not offer what the mode or a guessed feature needs.
        TaskError: The task has no training data, or data that does not fit.
        Diverged: The loss became NaN or infinite.
    """
    given = training_of(task, "distill")
    start, work = time.perf_counter(), Path(context.work)
    candidate, program = _teachers.student(candidate, task, options.student, "distill")
    method = _method(program, candidate, task, options, context)
    training, before = (
        with_unlabelled(given, options.unlabelled if _learns(options) else 0, options.pseudo),
        metric_of(task, program.module()),
    )
    shares = shares_of(method, training, context.seed)
    done = train_student(
        method, program, training, options.loop(context.seed), work / CHECKPOINT / "distilled"
    )
    after = metric_of(task, done.graph)
    kept, guarded = done.graph, dict[str, tuple[float, str]]()
    if options.guard:
        plain = _guard.plain(program, given, options.loop(context.seed), work / CHECKPOINT / "plain")
        kept, guarded = _guard.better(task, done.graph, after, plain)
    path = work / "program.pt2"
    programs.save(programs.export(kept, program), path)
    shutil.rmtree(work / CHECKPOINT, ignore_errors=True)
    figures = {
        **figures_of(done.trained),
        **shares,
        "metric before": (before, ""),
        "metric after": (after, ""),
        **guarded,
        "answers kept": (hits(method), "count"),
        "seconds to train": (done.trained.seconds, "s"),
        "seconds": (time.perf_counter() - start, "s"),
    }
    return noted(msgspec.structs.replace(candidate, program=str(path)), "distill", figures)


def _method(
    program: ExportedProgram, candidate: Candidate, task: "Task", options: Options, context: "Context"
) -> Method:
    wanted, given = modes.teachers(options.mode), dict[str, ExportedProgram]()
    if wanted != "none":
        given = _teachers.teachers(options.teachers, candidate, task, context)
    if wanted == "trained" and len(given) > 1:
        raise UserError(f"distill option mode {options.mode} takes one teacher; given are {', '.join(given)}")
    for name, teacher in given.items():
        _teachers.check_same(f"teacher {name!r}", teacher, "the student", program)
    folds = wanted == "frozen" and not options.features
    assert task.training is not None
    with torch.random.fork_rng(devices=()):
        data.seed_step(context.seed, 0, 0)  # for adapters and heads
        setting = Setting(
            student=_teachers.learner(program.module()),
            teachers=[_teachers.asked(teacher, folds) for teacher in given.values()],
            loss=task.training.loss,
            alpha=options.alpha,
            temperature=options.temperature,
            features=options.features,
            weight=options.weight,
            pseudo=options.pseudo,
            decay=options.decay,
            cached=options.cache,
        )
        return modes.method(options.mode, setting)


def _learns(options: Options) -> bool:
    """Whether something can be learned from samples without labels."""
    return bool(options.alpha < 1 or options.pseudo or (options.features and options.mode != "exits"))
