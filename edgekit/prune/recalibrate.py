"""Statistics of batch norms, taken anew: what a pruned net needs first.

Without some of its inputs every layer answers with other means and variances than its norm was trained for. A few hundred images
forward, without gradients, set them right: ResNet-20 without half of its multiply-accumulates names .31 of 1000 images of
CIFAR-10 right before, .47 after (benchmarks/prune_criteria.py --only l2 --score 1000); more images, or images without
augmentation, changed nothing. The same idea as "precise" batch norm of Wu and Johnson 2021 (arXiv:2105.07576).
"""

from collections.abc import Iterable, Iterator

import torch
from torch import nn

TOGETHER = 32  # images in one estimate of a variance, at least
Inputs = tuple[torch.Tensor, ...]


def recalibrate(module: nn.Module, batches: Iterable[Inputs], images: int) -> int:
    """Sets mean and variance of every batch norm to the average over up to `images` images; returns how many it took.

    Everything else of `module` stays in eval mode. 0 where it has no such norm.
    """
    norms = [
        m
        for m in module.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    if not norms or not images:
        return 0
    module.eval()
    kept, taken = [norm.momentum for norm in norms], 0
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average of all batches counts
        norm.train()
    try:
        with torch.no_grad():
            for inputs in _together(batches, images):
                module(*inputs)
                taken += len(inputs[0])
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.eval()
    return taken


def _together(batches: Iterable[Inputs], images: int) -> Iterator[Inputs]:
    """Batches of at least TOGETHER images, `images` in all; a rest of one image is left out."""
    waiting: list[Inputs] = []
    for inputs in batches:
        waiting.append(tuple(x[:images] for x in inputs))
        images -= len(waiting[-1][0])
        if sum(len(one[0]) for one in waiting) >= TOGETHER or (images <= 0 and len(waiting) > 1):
            yield tuple(torch.cat(column) for column in zip(*waiting, strict=True))
            waiting = []
        if images <= 0:
            break
    if waiting and sum(len(one[0]) for one in waiting) > 1:
        yield tuple(torch.cat(column) for column in zip(*waiting, strict=True))
