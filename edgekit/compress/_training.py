"""What the techniques that fine-tune a program in its own image share."""

from torch.export import ExportedProgram
from torch.fx import GraphModule
from torchao.quantization.pt2e.utils import _fuse_conv_bn_, _fuse_linear_bn_

from edgekit.quant import program as programs
from edgekit.quant.trainable import OneByOne, trainable
from edgekit.records import Candidate


def teacher(candidate: Candidate) -> GraphModule | OneByOne:
    """The candidate's float program, for any number of samples, batch norms folded to save time."""
    return answering(programs.load(candidate.program), folds=True)


def answering(program: ExportedProgram, folds: bool) -> GraphModule | OneByOne:
    """For any number of samples. folds: batch norms go into the layers before them, which saves time; their names go too."""
    graph = program.module()
    if folds:
        _fuse_conv_bn_(graph)
        _fuse_linear_bn_(graph)
    return trainable(graph)
