"""Noise beside signal, output by output and channel by channel.

Summed over all numbers of all outputs, boxes in pixels drown scores of 0 to 1: a choice that rounds every score away still
shows a good figure. So each output counts as much as another, and within it each channel (see
`edgekit.arrays.slice_axis`). A channel is held to the signal of those of its own magnitude, not to its own alone: a logit
that happens to be near zero for eight samples is compared with the other logits when a class is named, so it is not a loss.
"""

from collections.abc import Sequence

import torch

from edgekit.arrays import slice_axis

DEAD = 1e-12  # of the power of the loudest channel: a millionth of its numbers says nothing
GAP = 100.0  # in power, ten times the numbers: channels apart by more are of another kind
LOST = 1.0  # noise as large as the signal: beyond that, nothing more is lost


def powers(outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the power of each channel of each output, [channels]; one number where an output has no channels."""
    found = []
    for output in outputs:
        axis = slice_axis(output.shape)
        rest = [i for i in range(output.dim()) if i != axis]
        squares = output.double().square()
        found.append(squares.sum(rest).flatten() if rest else squares.flatten())
    return found


def noise_ratio(noise: Sequence[torch.Tensor], signal: Sequence[torch.Tensor]) -> float:
    """Returns the mean over outputs of the mean over their channels of noise / signal, each at most LOST.

    Without the limit it is linear in the noise, so that the degradations of parts whose errors are independent add up to
    that of all of them, as a knapsack needs it. The limit bends that only for a part that alone destroys channels.
    """
    ratios = [_ratio(n, s) for n, s in zip(noise, signal, strict=True) if float(s.sum()) > 0]
    return sum(ratios) / len(ratios) if ratios else 0.0


def _ratio(noise: torch.Tensor, signal: torch.Tensor) -> float:
    total, channels = 0.0, 0
    for group in kinds(signal):
        ratio = float(noise[group].sum() / signal[group].sum())
        total += len(group) * (min(ratio, LOST) if ratio == ratio else LOST)
        channels += len(group)
    return total / channels


def kinds(signal: torch.Tensor) -> list[torch.Tensor]:
    """Groups channels by magnitude: a new group starts wherever the next louder one is GAP times as loud; no dead ones."""
    order = signal.argsort()
    order = order[signal[order] > DEAD * signal.max()]
    breaks = (signal[order][1:] > GAP * signal[order][:-1]).nonzero().flatten() + 1
    return [group for group in torch.tensor_split(order, breaks.tolist()) if len(group)]
