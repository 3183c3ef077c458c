"""Binarization, experimental: middle convolutions with one bit for each activation and weight.

They train with the signs in place. A convolution of signs is an xnor and a count of bits: 32 times less to
store, and with one-bit kernels less to compute. XNOR-Net (Rastegari et al. 2016, arXiv:1603.05279) lost 18
points of top-1 on ImageNet with ResNet-18 (51.2 against 69.3 %), XNOR-Net++ (Bulat and Tzimiropoulos 2019,
arXiv:1909.13863) lost 12. Expect a loss; it is for models that have accuracy to spare.

- What is computed, and how zero and the border are treated: `edgekit.binary.layer`. Which layers are chosen:
  `edgekit.binary.layer_choice`.
- Thresholds start at the mean of each input channel, scales at the mean magnitude of weights and inputs, both
  from the first `batches` of the training data. Latent weights start at the float ones.
- Loss and teacher are those of `qat`: alpha times the task's loss, the rest is the divergence from the float
  program.
- `gradual`: over this share of the budget the float layer is blended into the binary one. Batch norms follow
  their batches.

The program that is written holds ordinary operators, so ONNX, TFLite and Core ML run it correctly, but no
faster. In ONNX Runtime it took 1.1 (ResNet-18) to 1.5 times (ResNet-20) the CPU time of float, because of the
comparisons and borders. One-bit kernels exist in OpenVINO on x86: `edgekit.binary.openvino_ir`. One-bit storage:
`edgekit.binary.packed`. Make it the last step that trains: a later one would treat the signs as float
weights.

Cost: `images` forward and backward, and forward of the float program.
"""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import torch
from msgspec import Meta
from torch import nn
from torch.utils.hooks import RemovableHandle

from edgekit.binary import layer_choice
from edgekit.binary.layer import BinaryConv, lower, replace
from edgekit.engine.stage_folder import CHECKPOINT
from edgekit.quant import program as programs
from edgekit.quant import proven, tensors
from edgekit.quant.trainable import OneByOne, give_back, trainable
from edgekit.records import Candidate, Settings
from edgekit.techniques._figures import noted
from edgekit.techniques._score import figures_of, metric_of
from edgekit.techniques._teachers import teacher
from edgekit.techniques._training_data import training_of
from edgekit.train import data, first_batch
from edgekit.train import settings as loop_options
from edgekit.train.loop import fit
from edgekit.train.objective import Distillation
from edgekit.train.settings import Accumulate, Alpha, Images, LearningRate, Precision, Temperature

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task, Training

log = logging.getLogger("edgekit")


class Options(Settings):
    """Which layers become binary, how their scales are shaped, and how long and how they train."""

    layers: Annotated[
        str, Meta(description="names or globs of modules, separated by commas; empty = all that are eligible")
    ] = ""
    images: Images = 20_000
    learning_rate: LearningRate = 0.0
    alpha: Alpha = 0.1
    temperature: Temperature = 4.0
    gradual: Annotated[
        float, Meta(ge=0, le=0.9, description="share of the budget over which float blends into binary")
    ] = 0.0
    scale: Annotated[
        Literal["channel", "factorised"],
        Meta(description="one factor for each output channel, or also one for each row and each column"),
    ] = "channel"
    batches: Annotated[int, Meta(ge=1, description="training batches that centre the thresholds")] = 8
    accumulate: Accumulate = 1
    precision: Precision = "float32"

    def loop(self, seed: int) -> loop_options.Options:
        """Returns the options of the training loop."""
        return loop_options.taken_from(self, seed)


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Trains the candidate with binary layers, and writes it to program.pt2 in the work folder.

    Raises:
        UserError: A layer that is named cannot be binary.
        NotApplicable: No layer of the network can be.
        TaskError: The task has no training data, or data that does not fit.
        Diverged: The loss became NaN or infinite.
    """
    training = training_of(task, "binarize")
    start, work = time.perf_counter(), Path(context.work)
    program = programs.load(candidate.program)
    like, graph = programs.user_inputs(program), program.module()
    chosen = layer_choice.chosen(graph, options.layers)
    names = [layer_choice.name_of(node) for node in chosen]
    layers = [replace(graph, node, options.scale == "factorised") for node in chosen]
    tensors.drop_unread(graph)
    model = trainable(graph)
    _centre(model, layers, training, options, context.seed)
    ready = time.perf_counter()
    trained = fit(
        model,
        training,
        options.loop(context.seed),
        objective=Distillation([teacher(candidate)], training.loss, options.alpha, options.temperature),
        on_step=_Schedule(options.gradual, layers),
        folder=work / CHECKPOINT,
    )
    done = time.perf_counter()
    model.to("cpu")
    _ease(layers, 1.0)
    give_back(model, graph)
    weights = sum(layer.weight.numel() for layer in layers)
    before = proven.of_graph(graph)
    lower(graph)
    before.demand(graph, "writing binary layers as ordinary operators")
    path = work / "program.pt2"
    programs.save(programs.export(graph, like), path)
    shutil.rmtree(work / CHECKPOINT, ignore_errors=True)
    figures = {
        "binary layers": (len(layers), "count"),
        "binary weights": (weights, "count"),
        **figures_of(trained),
        "metric binary": (metric_of(task, graph), ""),
        "seconds to train": (done - ready, "s"),
        "seconds": (time.perf_counter() - start, "s"),
    }
    log.info("binary layers, experimental: %s", ", ".join(names))
    return noted(msgspec.structs.replace(candidate, program=str(path)), "binarize", figures)


def _centre(
    model: nn.Module, layers: list[BinaryConv], training: "Training", options: Options, seed: int
) -> None:
    """Gives each layer the mean of its inputs and their mean distance from it, as in the float network."""
    batches = data.first(training, seed, options.batches)
    first_batch.check(model, training, batches[0])
    _ease(layers, 0.0)
    zeros = [torch.zeros_like(layer.threshold) for layer in layers]
    means = _averages(model, layers, batches, zeros, torch.clone)
    spreads = _averages(model, layers, batches, means, torch.abs)
    for layer, mean, spread in zip(layers, means, spreads, strict=True):
        layer.centre(mean, spread)
    _ease(layers, 1.0)


@torch.no_grad()
def _averages(
    model: nn.Module,
    layers: list[BinaryConv],
    batches: list[data.Batch],
    centres: list[torch.Tensor],
    of: Callable[[torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """The mean [C] for each layer, over samples and positions, of a function of its centred inputs."""
    sums = [torch.zeros_like(centre) for centre in centres]

    def watch(number: int) -> RemovableHandle:
        def hook(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            sums[number] += of(inputs[0] - centres[number].view(-1, 1, 1)).mean((0, 2, 3))

        return layers[number].register_forward_pre_hook(hook)

    hooks = [watch(number) for number in range(len(layers))]
    calls = 0
    model.eval()
    for batch in batches:
        model(*batch.inputs)
        calls += len(batch.inputs[0]) if isinstance(model, OneByOne) else 1
    for hook in hooks:
        hook.remove()
    return [total / calls for total in sums]


class _Schedule:
    """Blends binarization in; depends on the progress alone."""

    def __init__(self, gradual: float, layers: list[BinaryConv]) -> None:
        self._gradual, self._layers = gradual, layers

    def __call__(self, progress: float) -> None:
        _ease(self._layers, min(1.0, progress / self._gradual) if self._gradual else 1.0)


def _ease(layers: list[BinaryConv], share: float) -> None:
    for layer in layers:
        layer.ease = share
