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
"masked tokens right" is: of the texts it trains on, with other words taken out than in training and each of them masked; beside it stands
what naming the commonest word each time would get. The head starts from how often each word comes, so that is where it begins.
A small student learns nothing beyond that from few texts: 8,000 news items read, 250 updates, were in vain
(benchmarks/pretrained_distillation.py).

Cost: `images` texts forward and backward. The head multiplies each chosen word with the whole embedding.
"""

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
from msgspec import Meta
from torch.export import ExportedProgram
from torch.fx import GraphModule

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

COUNTED = 100  # batches whose words are counted
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
    counts = masking.counted(reading.judged, len(reading.model.bias))
    figures = {
        "masked tokens right if the commonest": (float(counts.max() / counts.sum()), "share"),
        "masked tokens right before": (masking.right(reading.model.eval(), reading.judged), "share"),
    }
    trained = fit(
        reading.model, reading.training, options.loop(context.seed), folder=work / CHECKPOINT / "read"
    )
    after = masking.right(reading.model.to("cpu").eval(), reading.judged)
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
    """The student with its head, the texts with words taken out, and some batches of them in which each chosen word is masked."""

    model: masking.Predictor
    training: Training
    judged: list[data.Batch]


def _reading(program: ExportedProgram, given: Training, options: Options, seed: int) -> _Reading:
    graph = program.module()
    tokens = texts.find(graph, options.tokens)
    hidden = texts.hidden(graph, tokens, options.hidden)
    padding, mask = _numbers(tokens, options)

    def masked(share: float, **shares: float) -> Training:
        corrupt = masking.Corruption(tokens.words, share, padding, mask, **shares)
        return Training(batches=masking.MaskedTexts(given, tokens, corrupt), loss=masking.loss)

    training = masked(options.mask)
    counts = masking.counted(data.first(masked(1.0), seed, COUNTED), tokens.words)
    if not counts.any():
        raise TaskError(
            f"the first training texts hold nothing but padding, {padding}, and the mask, {mask}; say which numbers these are: "
            "padding=..., mask_token=..."
        )
    model = masking.Predictor(_student(graph, hidden), tokens, (padding, mask), counts, seed)
    judged = data.first(masked(options.mask, masked=1.0, other=0.0), seed + 1, JUDGED)
    first_batch.check(model, training, judged[0])
    log.info("pre-training: %s is read, %s predicts, padding %d, mask %d", tokens.name, hidden, padding, mask)
    return _Reading(model, training, judged)


def _numbers(tokens: texts.Tokens, options: Options) -> tuple[int, int]:
    """Returns the numbers of padding and of the mask."""
    known = UNPADDED if tokens.padding is None else tokens.padding
    padding = known if options.padding is None else options.padding
    return padding, padding + 1 if options.mask_token is None else options.mask_token


def _student(graph: GraphModule, hidden: str) -> Tapped:
    """Returns the graph with its hidden tensor; what that does not come from is not trained."""
    student = Tapped(_teachers.learner(graph), (hidden,), "student")
    read = texts.behind(taps.find(graph, hidden, "student"))
    for name, parameter in graph_of(student.graph).named_parameters():
        parameter.requires_grad_(name in read)
    return student
