"""Rounding that takes the output into account: which integer each weight becomes is chosen by the inputs it will meet.

Nearest rounding is best for a weight alone, not for a layer: inputs are correlated, so that one weight's rounding error
can be compensated by its neighbours. Let x be the inputs of a layer in the float program and x' those it gets in the quantized
one, behind layers already rounded. With the bias free, the integers Q at scale s should minimise

    E |W (x - E x) - s Q (x' - E x')|^2 = tr((s Q - T) H (s Q - T)^T) + const,    H = cov(x'),

where T = W + W cov(x - x', x') H^-1 is the layer that least squares would choose: it takes back what the layers before
did wrong. Then, GPTQ: column by column, in the order of H's diagonal, round to nearest and move the error onto the
columns not yet rounded, in proportion to the Cholesky factor of H^-1. The bias takes what is left of the mean error.
For a convolution x is a patch (im2col): H is 9 x 9 for each channel of a depthwise 3 x 3, C x C for a pointwise one.

100 photos do not determine 1280 x 1280 numbers. So H is damped, for T by as much as makes each half of the samples
predict the other best: without that, outputs fit the samples (EfficientNet-Lite0, 7 bits: 35 dB of signal to noise) and
nothing else (21 dB on other photos; 24 dB with it, 20 dB rounded to nearest).

Frantar et al. 2022, "GPTQ" (arXiv:2210.17323); Hassibi and Stork 1993 (Optimal Brain Surgeon); the target T as in
Li et al. 2025, "GPTAQ" (arXiv:2504.02692). Scales, zero points and formats stay: every target gains, no kernel changes.

Cost: one run of the float and the integer model side by side over at most SAMPLES inputs, fewer where the activations
between two layers exceed MEMORY_BYTES, and some D x D Cholesky factors per layer. Memory does not grow with the number of
calibration inputs. CPU seconds: half a minute for EfficientNet-Lite0, three for a ResNet-20 of 32 x 32 pixels.
"""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import GraphModule, Node

from edgekit.quant import rules, tensors
from edgekit.quant.calibrate import Batch
from edgekit.quant.program import calls
from edgekit.quant.simulate import Simulation, layer_by_layer, live_bytes
from edgekit.records import Record

log = logging.getLogger("edgekit")

SAMPLES = 64
FEWEST = 8
MEMORY_BYTES = 512 << 20  # what the activations between two layers may take: it limits the samples
POSITIONS = 256  # patches taken of one sample, evenly spread
DAMPING = 0.1  # times the mean diagonal of H, added when rounding: few samples leave small directions open
DAMPINGS = (0.01, 0.1, 1.0, 10.0)  # tried for T
BLOCK = 64  # columns that are rounded before the error moves on to the rest

Pair = tuple[torch.Tensor, torch.Tensor]

LINEAR = torch.ops.aten.linear.default


class Rounded(Record):
    """The outcome of `round_weights`.

    Attributes:
        layers: How many layers were rounded.
        changed: How many integers are not the nearest ones.
        weights: How many integers there are.
    """

    layers: int
    changed: int
    weights: int


class Moments:
    """Running sums over patches x (float) and y (integer model), both [G, D, n], of G groups."""

    def __init__(self) -> None:
        self.count = 0
        self.sum_x = self.sum_y = self.sum_yy = self.sum_ey = torch.zeros(())

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Adds the patches of a few samples, [G, D, n] each."""
        self.count += x.shape[2]
        self.sum_x, self.sum_y = self.sum_x + x.sum(2), self.sum_y + y.sum(2)
        self.sum_yy = self.sum_yy + y @ y.transpose(1, 2)
        self.sum_ey = self.sum_ey + (x - y) @ y.transpose(1, 2)

    def __add__(self, other: "Moments") -> "Moments":
        total = Moments()
        for name, value in vars(self).items():
            setattr(total, name, value + getattr(other, name))
        return total

    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the means of x and y, [G, D] each."""
        return self.sum_x.double() / self.count, self.sum_y.double() / self.count

    def spread(self, centred: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the second moments of y, and of (x - y) with y.

        Args:
            centred: Whether they are taken around the means.

        Returns:
            (H, C), [G, D, D] each.
        """
        hessian, cross = self.sum_yy.double() / self.count, self.sum_ey.double() / self.count
        if centred:
            x, y = self.means()
            hessian = hessian - y[:, :, None] * y[:, None]
            cross = cross - (x - y)[:, :, None] * y[:, None]
        return hessian, cross


@torch.no_grad()
def round_weights(
    prepared: GraphModule,
    samples: Sequence[Batch],
    originals: Mapping[str, torch.Tensor] | None = None,
    biases: bool = True,
) -> Rounded:
    """Moves every weight of a calibrated graph onto its grid, in place.

    Convolutions in three dimensions and shared weights stay as they are: rounded to nearest.

    Args:
        prepared: The calibrated graph.
        samples: Inputs of the model.
        originals: Float tensors by path, where the graph holds changed ones (biases that were corrected).
        biases: Whether the biases are adjusted too.
    """
    layers = roundable(prepared)
    stored = {path: tensors.read(prepared, path) for layer in layers for path in stored_paths(layer)}
    stored |= dict(originals or {})
    models = [Simulation(prepared, rounds=False, stored=stored), Simulation(prepared)]
    done = changed = 0
    for node, (exact, integer) in layer_by_layer(models, samples):
        if node in layers:
            shape = stored[stored_paths(node)[0]].shape
            halves = Moments(), Moments()
            for index, (x, y) in enumerate(zip(exact, integer, strict=True)):
                halves[index % 2].add(patches(node, x, shape), patches(node, y, shape))
            changed += _round(prepared, node, halves, stored, biases)
            done += 1
            progress(done, len(layers))
        if done == len(layers):
            break
    weights = sum(stored[stored_paths(layer)[0]].numel() for layer in layers)
    return Rounded(layers=len(layers), changed=changed, weights=weights)


def progress(done: int, total: int) -> None:
    """Logs one line for every tenth of a long run."""
    if done % max(1, total // 10) == 0 or done == total:
        log.info("rounding: layer %d of %d", done, total)


def samples_within(prepared: GraphModule) -> int:
    """Returns how many samples of the model's inputs `round_weights` may hold."""
    return max(FEWEST, min(SAMPLES, MEMORY_BYTES // max(1, 2 * live_bytes(prepared.graph))))


def roundable(prepared: GraphModule) -> list[Node]:
    """Lists the layers with an observed weight that no other layer shares, in the order of the graph."""
    known = {LINEAR, torch.ops.aten.conv1d.default, torch.ops.aten.conv2d.default}
    macs = [node for node in calls(prepared) if node.target in rules.MAC]
    found = [node for node in macs if tensors.weight_observer(prepared, node.args[1]) is not None]
    used = Counter(path for node in found for path in stored_paths(node))
    return [
        node for node in found if node.target in known and all(used[path] == 1 for path in stored_paths(node))
    ]


def _round(
    prepared: GraphModule,
    layer: Node,
    halves: tuple[Moments, Moments],
    stored: Mapping[str, torch.Tensor],
    biases: bool,
) -> int:
    """Rounds one layer; returns how many integers differ from the nearest."""
    path, *bias = stored_paths(layer)
    moments, centred = halves[0] + halves[1], biases and bool(bias)
    x, y = moments.means()
    groups, columns = x.shape
    observer: Any = tensors.weight_observer(prepared, layer.args[1])
    scale = observer.calculate_qparams()[0].double().reshape(-1, 1)
    scale = scale.expand(stored[path].shape[0], 1).reshape(groups, -1, 1)
    weight = stored[path].double().reshape(groups, -1, columns)
    both = moments.spread(centred)
    target = repaired(weight, [half.spread(centred) for half in halves], both)
    integers = gptq(target / scale, damped(both[0], DAMPING), observer.quant_min, observer.quant_max)
    tensors.write(prepared, path, (integers * scale).reshape(stored[path].shape).float())
    if biases and bias:
        shift = weight @ x[:, :, None] - integers * scale @ y[:, :, None]
        tensors.write(prepared, bias[0], (stored[bias[0]].double() + shift.flatten()).float())
    nearest = (weight / scale).round().clamp(observer.quant_min, observer.quant_max)
    return int((integers != nearest).sum())


def repaired(weight: torch.Tensor, halves: Sequence[Pair], both: Pair) -> torch.Tensor:
    """Computes T, the weight of least squares, at the best damping.

    That is the damping with which each half of the samples best predicts the other.

    Args:
        weight: The float weight, [G, O, D].
        halves: The moments of each half of the samples.
        both: The moments of all samples.

    Returns:
        T; the weight itself where no damping does better.
    """
    losses = {math.inf: 0.0}
    for damping in DAMPINGS:
        changes = [_change(weight, half, damping) for half in halves]
        losses[damping] = sum(
            _loss(weight, change, other) for change, other in zip(changes, reversed(halves), strict=True)
        )
    best = min(losses, key=lambda damping: losses[damping])
    return weight if best == math.inf else weight + _change(weight, both, best)


def _change(weight: torch.Tensor, moments: Pair, damping: float) -> torch.Tensor:
    hessian, cross = moments
    factor = torch.linalg.cholesky(damped(hessian, damping))
    return torch.cholesky_solve((weight @ cross).transpose(1, 2), factor).transpose(1, 2)


def _loss(weight: torch.Tensor, change: torch.Tensor, moments: Pair) -> float:
    """Returns E |W x - (W + change) y|^2, less what no change would leave."""
    hessian, cross = moments
    return float((change * (change @ hessian - 2 * weight @ cross)).sum())


def gptq(target: torch.Tensor, hessian: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Rounds `target` column by column, moving each error onto the columns that are not yet rounded.

    Args:
        target: The weight in steps of its scale, [G, O, D].
        hessian: H, [G, D, D].
        low: The lowest integer allowed.
        high: The highest integer allowed.

    Returns:
        Integers Q [G, O, D] near `target` with a small tr((Q - target) H (Q - target)^T).
    """
    order = hessian.diagonal(dim1=1, dim2=2).argsort(1, descending=True)
    rows = order[:, None].expand_as(target)
    hessian = hessian.gather(1, order[:, :, None].expand_as(hessian))
    hessian = hessian.gather(2, order[:, None].expand_as(hessian))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = target.gather(2, rows)
    integers = torch.empty_like(left)
    for start in range(0, left.shape[2], BLOCK):
        stop = min(start + BLOCK, left.shape[2])
        errors = torch.empty_like(left[:, :, start:stop])
        for j in range(start, stop):
            integers[:, :, j] = left[:, :, j].round().clamp(low, high)
            error = (left[:, :, j] - integers[:, :, j]) / factor[:, None, j, j]
            left[:, :, j:stop] -= error[:, :, None] * factor[:, None, j, j:stop]
            errors[:, :, j - start] = error
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return torch.empty_like(integers).scatter(2, rows, integers)


def patches(layer: Node, x: torch.Tensor, weight: torch.Size) -> torch.Tensor:
    """Returns what a layer multiplies its weight with.

    Args:
        layer: The node of the layer.
        x: Its input.
        weight: The shape of its weight.

    Returns:
        [G, D, n], with n at most POSITIONS for each sample.
    """
    if layer.target is LINEAR:
        rows = x.reshape(-1, x.shape[-1])
        return rows[:: math.ceil(len(rows) / (POSITIONS * x.shape[0]))].T[None]
    rank = rules.conv_rank(layer)
    full = [*layer.args, *[None, [1], [0], [1], 1][len(layer.args) - 2 :]]
    stride, padding, dilation = ([int(v) for v in (list(s) * rank)[:rank]] for s in full[3:6])
    x = F.pad(x, [p for p in reversed(padding) for _ in (0, 1)])
    kernel = list(weight[2:])
    if rank == 1:
        x, kernel, stride, dilation = x[:, :, None], [1, *kernel], [1, *stride], [1, *dilation]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sizes = [(n - span) // s + 1 for n, span, s in zip(x.shape[2:], spans, stride, strict=True)]
    thin = max(1.0, math.prod(sizes) / POSITIONS) ** (1 / rank)
    every = [min(n, math.ceil(thin)) for n in sizes]
    first = [s * (e // 2) for s, e in zip(stride, every, strict=True)]
    x = x[:, :, first[0] :, first[1] :]
    found = F.unfold(x, kernel, dilation, 0, [s * e for s, e in zip(stride, every, strict=True)])
    groups = int(full[6])
    return found.reshape(x.shape[0], groups, -1, found.shape[2]).permute(1, 2, 0, 3).flatten(2)


def damped(hessian: torch.Tensor, damping: float) -> torch.Tensor:
    """Adds `damping` times the mean diagonal of `hessian` [G, D, D] to its diagonal; the identity where it is zero."""
    mean = hessian.diagonal(dim1=1, dim2=2).mean(1)
    added = torch.where(mean > 0, damping * mean, torch.ones_like(mean))
    return hessian + added[:, None, None] * torch.eye(hessian.shape[1], dtype=hessian.dtype)


def stored_paths(layer: Node) -> list[str]:
    """Returns the paths of a layer's stored tensors: its weight, behind the observer, and its bias, if it has one."""
    bias = layer.args[2] if len(layer.args) > 2 else None
    found = [str(layer.args[1].args[0].target)]
    return [*found, str(bias.target)] if isinstance(bias, Node) and bias.op == "get_attr" else found
