"""What the techniques that fine-tune share: the teacher, and what they say of a training."""

from torch import nn
from torchao.quantization.pt2e.utils import _fuse_conv_bn_, _fuse_linear_bn_

from edgekit.quant import program as programs
from edgekit.quant.trainable import trainable
from edgekit.records import Candidate
from edgekit.train.loop import Trained


def teacher(candidate: Candidate) -> nn.Module:
    """The candidate's float program, for any number of samples, batch norms folded to save time."""
    graph = programs.load(candidate.program).module()
    _fuse_conv_bn_(graph)
    _fuse_linear_bn_(graph)
    return trainable(graph)


def trained_figures(trained: Trained) -> dict[str, tuple[float, str]]:
    return {
        "images trained": (trained.images, "count"),
        "steps": (trained.steps, "count"),
        "learning rate": (trained.learning_rate, ""),
        "loss at first": (trained.checks[0].loss, ""),
        "loss at last": (trained.checks[-1].loss, ""),
    }
