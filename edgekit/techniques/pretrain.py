"""Pre-training: a network reads texts without labels, and learns to say which words were taken out of them.

Turc et al. 2019, "Well-Read Students Learn Better" (arXiv:1908.08962), pre-train a compact student so, before it is distilled on
unlabelled texts and fine-tuned on labels: pre-trained distillation. The three stages are three steps of a recipe:

    pretrain(student="nets.py:compact", images=200000) > distill(alpha=0) > distill(alpha=1) > ptq

- `student`: "" the program as the steps before left it, or "file.py:function?setting=value" for a compact network that replaces it.
- `tokens`: the input that holds the words' numbers, [N, L]; "" the only one that an embedding looks up.
- `hidden`: the module whose output [N, L, C] has a vector for each word; "" the last such one. The head that predicts from it is tied
  to the embedding's weights, goes through a linear layer where the widths differ, and is thrown away afterwards.
- `mask` of the words that are no padding are chosen: 80 % become `mask_token`, 10 % another word, 10 % stay (BERT, Devlin et al. 2019,
  arXiv:1810.04805). They are drawn anew each epoch.
- `padding`: none is what the embedding itself knows (padding_idx), 0 where it knows none; -1 for texts without.
- `mask_token`: none is the number after the padding's, which many vocabularies give to the unknown word. The text itself may hold it:
  such places are not chosen, since nobody knows the word. Name the vocabulary's own mask if it has one.

The texts are Training(unlabelled=...), where the task has any, else the inputs of its batches. What reads a text from left to right alone
(an LSTM in one direction) learns to continue it. The class head is not touched, so the metric says nothing yet and is not asked;
"masked tokens right" is, of texts it trains on with words taken out anew, beside the share that the commonest word would get.

Cost: `images` texts forward and backward. The head multiplies each chosen word with the whole embedding.
"""

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import torch
from msgspec import Meta
from torch.export import ExportedProgram

from edgekit.distill import masking, taps
from edgekit.distill import tokens as texts
from edgekit.distill.taps import Tapped, graph_of
from edgekit.engine.stage_folder import CHECKPOINT
from edgekit.errors import TaskError
from edgekit.quant import program as programs
from edgekit.records import Candidate, Settings
from edgekit.task import Training
from edgekit.techniques import _teachers
from edgekit.techniques._distill_training import written
from edgekit.techniques._figures import noted
from edgekit.techniques._score import figures_of
from edgekit.techniques._training_data import training_of
from edgekit.train import data, first_batch
from edgekit.train import settings as loop_options
from edgekit.train.loop import fit
from edgekit.train.settings import (
    Accumulate,
    ClipNorm,
    Ema,
    Images,
    LearningRate,
    Optimizer,
    Precision,
    Processes,
    Warmup,
    WeightDecay,
)  # fmt: skip

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

log = logging.getLogger("edgekit")

JUDGED = 16  # batches that say how many masked tokens are right
UNPADDED = 0  # what is padding where the embedding knows none


class Options(Settings):
    """Who reads, which words are taken out, and how it trains; the head of the module explains it."""

    images: Images = 50_000
    learning_rate: LearningRate = 0.0
    student: _teachers.Student = ""
    tokens: Annotated[
        str, Meta(description="the input that holds the words' numbers; empty = the only one there is")
    ] = ""
    hidden: Annotated[
        str,
        Meta(description="the module whose output has a vector for each word; empty = the last such one"),
    ] = ""
    mask: Annotated[float, Meta(gt=0, lt=1, description="share of the words that are chosen")] = 0.15
    mask_token: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="the number that stands for a word taken out; none = that after the padding's",
            ),
        ]
        | None
    ) = None
    padding: (
        Annotated[
            int,
            Meta(
                ge=-1,
                description="the number of padding; none = the embedding's own, else 0; -1 = no padding",
            ),
        ]
        | None
    ) = None
    warmup: Warmup = 0.05
    optimizer: Optimizer = "adamw"
    weight_decay: WeightDecay = 0.0
    clip_norm: ClipNorm | None = None
    accumulate: Accumulate = 1
    precision: Precision = "float32"
    processes: Processes = 1
    ema: Ema = 0.0

    def loop(self, seed: int) -> loop_options.Options:
        """Returns the options of the training loop."""
        return loop_options.taken_from(self, seed, loop_options.ALL)


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Trains the candidate, or the student that replaces it, and writes it to program.pt2 in the work folder.

    Raises:
        UserError: The student, an input or a module that is named does not fit, or a number is no word.
        NotApplicable: The network reads no text, or has no vector for each word.
        TaskError: The task has no training data, or data that does not fit.
        Diverged: The loss became NaN or infinite.
    """
    given = training_of(task, "pretrain")
    start, work = time.perf_counter(), Path(context.work)
    candidate, program = _teachers.student(candidate, task, options.student, "pretrain")
    reading = _reading(program, given, options, context.seed)
    judged = _judged(reading, context.seed + 1)  # words other than those of the first epoch
    figures = {
        "masked tokens right if the commonest": (masking.commonest(judged), "share"),
        "masked tokens right before": (masking.right(reading.model.eval(), judged), "share"),
    }
    trained = fit(
        reading.model, reading.training, options.loop(context.seed), folder=work / CHECKPOINT / "read"
    )
    after = masking.right(reading.model.to("cpu").eval(), judged)
    path = work / "program.pt2"
    programs.save(programs.export(written(reading.model.student, program), program), path)
    shutil.rmtree(work / CHECKPOINT, ignore_errors=True)
    figures |= {
        "masked tokens right after": (after, "share"),
        **figures_of(trained),
        "seconds to train": (trained.seconds, "s"),
        "seconds": (time.perf_counter() - start, "s"),
    }
    return noted(msgspec.structs.replace(candidate, program=str(path)), "pretrain", figures)


class _Reading(NamedTuple):
    """The student with its head, and the texts with words taken out."""

    model: masking.Predictor
    training: Training


def _reading(program: ExportedProgram, given: Training, options: Options, seed: int) -> _Reading:
    graph = program.module()
    tokens = texts.find(graph, options.tokens)
    hidden = texts.hidden(graph, tokens, options.hidden)
    known = UNPADDED if tokens.padding is None else tokens.padding
    padding = known if options.padding is None else options.padding
    mask = padding + 1 if options.mask_token is None else options.mask_token
    corrupt = masking.Corruption(tokens.words, options.mask, padding, mask)
    batches = masking.MaskedTexts(given, tokens, corrupt)
    student = Tapped(_teachers.learner(graph), (hidden,), "student")
    read = texts.behind(taps.find(graph, hidden, "student"))
    for name, parameter in graph_of(student.graph).named_parameters():
        parameter.requires_grad_(name in read)
    with torch.random.fork_rng(devices=()):
        data.seed_step(seed, 0, 0)  # for the head
        model = masking.Predictor(student, tokens, corrupt.never)
    log.info("pre-training: %s is read, %s predicts, padding %d, mask %d", tokens.name, hidden, padding, mask)
    return _Reading(model, Training(batches=batches, loss=masking.loss))


def _judged(reading: _Reading, seed: int) -> list[data.Batch]:
    """Returns some batches that the model can take.

    Raises:
        TaskError: It cannot, or no word of them is chosen.
    """
    found = data.first(reading.training, seed, JUDGED)
    first_batch.check(reading.model, reading.training, found[0])
    if not any(bool(batch.inputs[-1].any()) for batch in found):
        raise TaskError(
            "the first training texts hold no word that could be masked; give longer texts, or say which number is padding and which "
            "mask_token"
        )
    return found
