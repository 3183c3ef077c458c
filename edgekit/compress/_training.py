"""What the techniques that fine-tune a program in its own image share."""

from torch import nn
from torchao.quantization.pt2e.utils import _fuse_conv_bn_, _fuse_linear_bn_

from edgekit.quant import program as programs
from edgekit.quant.trainable import trainable
from edgekit.records import Candidate


def teacher(candidate: Candidate) -> nn.Module:
    """The candidate's float program, for any number of samples, batch norms folded to save time."""
    graph = programs.load(candidate.program).module()
    _fuse_conv_bn_(graph)
    _fuse_linear_bn_(graph)
    return trainable(graph)
