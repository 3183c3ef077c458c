"""Statistics of batch norms, taken anew: with many inputs gone every layer answers with other means and variances than its
norm was trained for. A few hundred inputs forward, without gradients, set them right."""

from collections.abc import Iterable
from itertools import islice

import torch
from torch.fx import GraphModule

from edgekit.quant.calibrate import Batch, checked, yielded
from edgekit.quant.trainable import Norm, OneByOne


def recalibrate(
    model: GraphModule | OneByOne, batches: Iterable[object], like: Batch, limit: int = 100
) -> int:
    """Sets each norm to the mean over up to `limit` batches of a graph that `trainable` made; returns the inputs it took.

    like: the inputs of one sample. Nothing else changes. 0 where there is no norm, or samples go one by one. Raises TaskError for
    batches that do not fit.
    """
    norms = [module for module in model.modules() if isinstance(module, Norm)]
    if not norms or isinstance(model, OneByOne):
        return 0
    model.eval()
    momenta, taken = [norm.momentum for norm in norms], 0
    try:
        for number, batch in enumerate(islice(yielded(batches), limit)):
            for norm in norms:
                norm.momentum = 1 / (number + 1)  # all batches count the same
                norm.train()
            inputs = checked(batch, like, number)
            with torch.no_grad():
                model(*inputs)
            taken += len(inputs[0])
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    return taken
