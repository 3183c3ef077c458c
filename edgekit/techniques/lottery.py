"""Lottery tickets: a small part of the weights that, trained alone, is as accurate as the whole network.

The method is iterative magnitude pruning. The trained network loses a share of its smallest weights, what is
left goes back to the values it had early in training, and trains again; and so on, until few are left.
Frankle & Carbin 2019, "The Lottery Ticket Hypothesis" (arXiv:1803.03635), goes back to the initial weights;
larger networks need weights from a little later. Renda et al. 2020, "Comparing Rewinding and Fine-tuning"
(arXiv:2003.02389): if the early weights are gone, it is enough to keep the weights as they are and repeat the
schedule of the learning rate, so there is nothing to store. On a perceptron for digits both keep the dense
network's accuracy at 92 % zeros; at 95 % only rewound weights do (benchmarks/lottery.py).

- `rewind`: a file of early weights; "" repeats the rate alone. The masks are those of
  `edgekit.techniques.sparsify`.
- `control`: after the same search the last masks are shuffled within each layer. A ticket that is no better
  than its control was luck, or the network had room for any mask: run both before believing one.
- Batch norms train along, and are rewound with the weights if the file holds them.

Cost: `images` forward and backward for each round, log(1 - sparsity) / log(1 - each) rounds: 8 for 80 % in
steps of .2. This is for research and for small networks; `sparsify` with a gradual schedule takes a single
such round.
"""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta
from torch import nn
from torch.fx import GraphModule

from edgekit.engine.stage_folder import CHECKPOINT
from edgekit.quant import program as programs
from edgekit.quant.trainable import give_back
from edgekit.records import Candidate, Settings
from edgekit.sparse import dead_channels, patterns, tickets
from edgekit.sparse import layers as weights
from edgekit.sparse.layers import Ignore, Keep
from edgekit.sparse.masks import Masks
from edgekit.sparse.patterns import Scope
from edgekit.techniques._figures import noted
from edgekit.techniques._score import metric_of
from edgekit.techniques._teachers import learner, teacher, written_back
from edgekit.techniques._training_data import training_of
from edgekit.train import settings as loop_options
from edgekit.train.loop import fit
from edgekit.train.objective import Distillation, TaskLoss
from edgekit.train.settings import Alpha, LearningRate, Precision, Temperature

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task, Training


class Options(Settings):
    """How sparse the ticket is, in how many rounds it is found, and what the weights that stay go back to."""

    sparsity: Annotated[float, Meta(gt=0, lt=1, description="share of zeros at the end")] = 0.8
    scope: Annotated[
        Scope, Meta(description="whether weights of all layers compete, or those of each layer")
    ] = "global"
    each: Annotated[
        float, Meta(gt=0, lt=1, description="share of the weights still there that goes in a round")
    ] = 0.2
    rewind: Annotated[
        str,
        Meta(description="a .safetensors file of early weights; empty = the learning rate alone is rewound"),
    ] = ""
    control: Annotated[bool, Meta(description="shuffle the last masks within each layer, as a control")] = (
        False
    )
    images: Annotated[int, Meta(ge=1, description="samples to train on in each round")] = 10_000
    learning_rate: LearningRate = 0.0
    alpha: Alpha = 1.0
    temperature: Temperature = 4.0
    precision: Precision = "float32"
    ignore: Ignore = ""
    keep: Keep = "none"

    def loop(self, seed: int) -> loop_options.Options:
        """Returns the options of the training loop."""
        return loop_options.taken_from(self, seed)


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Searches a ticket in the candidate and writes it, trained, to program.pt2 in the work folder.

    Raises:
        UserError: A name is not a layer, or the early weights are of another model.
        NotApplicable: The network has no layer to make sparse, or the sparsity would remove a whole one.
        TaskError: The task has no training data, or data that does not fit.
        Diverged: The loss became NaN or infinite.
    """
    training = training_of(task, "lottery")
    start, work = time.perf_counter(), Path(context.work)
    program = programs.load(candidate.program)
    like, graph = programs.user_inputs(program), program.module()
    del program
    unstructured = patterns.read("unstructured")
    chosen = weights.chosen(weights.find(graph), unstructured, options.ignore, options.keep)
    figures = {"metric before": (metric_of(task, graph), "")}
    search = _Search(candidate, graph, chosen, training, options, context)
    dead_channels.check(chosen, search.masks.scores(), unstructured, options.sparsity, options.scope)
    for number, share in enumerate(search.shares):
        search.round(number)
        figures[f"metric at {100 * share:.1f} % zeros"] = (metric_of(task, search.model), "")
    with written_back(search.model.eval(), graph):
        give_back(search.model, graph)
        search.masks.write(graph)
    path = work / "program.pt2"
    programs.save(programs.export(graph, like), path)
    shutil.rmtree(work / CHECKPOINT, ignore_errors=True)
    kept = [mask.kept for mask in search.masks.masks]
    figures |= {
        "rounds": (len(search.shares), "count"),
        "images trained": (search.images, "count"),
        "zeros of the sparse layers": (
            1 - sum(int(k.sum()) for k in kept) / sum(k.numel() for k in kept),
            "share",
        ),
        "metric after": (metric_of(task, graph), ""),
        "seconds": (time.perf_counter() - start, "s"),
    }
    doubts = (*candidate.doubts, *dead_channels.doubts(chosen, kept))
    return noted(msgspec.structs.replace(candidate, program=str(path), doubts=doubts), "lottery", figures)


class _Search:
    """The rounds. A finished round left its last checkpoint, so a killed search repeats it at no cost."""

    def __init__(
        self,
        candidate: Candidate,
        graph: GraphModule,
        chosen: list[weights.Layer],
        training: "Training",
        options: Options,
        context: "Context",
    ) -> None:
        self._options, self._training, self._context = options, training, context
        self._early = tickets.early_weights(Path(options.rewind), graph) if options.rewind else {}
        self._objective = self._loss(candidate)
        self.model = learner(graph)
        self.masks = Masks(self.model, chosen, "magnitude")
        self.shares = tickets.shares(options.sparsity, options.each)
        self.images = 0

    def _loss(self, candidate: Candidate) -> TaskLoss | Distillation:
        given = self._options
        if given.alpha == 1:
            return TaskLoss(self._training.loss)
        return Distillation([teacher(candidate)], self._training.loss, given.alpha, given.temperature)

    def round(self, number: int) -> nn.Module:
        """Drops some weights, rewinds the others and trains them."""
        self.model.to("cpu")
        self.masks.renew(patterns.read("unstructured"), self.shares[number], self._options.scope)
        if self._options.control and number == len(self.shares) - 1:
            kept = [mask.kept for mask in self.masks.masks]
            self.masks.put(tickets.shuffled(kept, self._context.seed))
        tickets.rewind(self.model, self._early)
        trained = fit(
            self.model,
            self._training,
            self._options.loop(self._context.seed),
            objective=self._objective,
            folder=Path(self._context.work) / CHECKPOINT / f"round-{number}",
        )
        self.images += trained.images
        self.model.to("cpu")
        return self.model
